"""A label with any number of values fills neither the memory nor the page of metrics."""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("installed")

OVERFLOW = "__overflow__"


def limited(limit: int | None, *names: str) -> Counter:
    metric = Counter("requests", "Help", names or ("path",), registry=None)
    multiprom.limit_series(metric, limit)
    return metric


def sample(name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    return registry.get_sample_value(name, labels)


def overflows() -> float | None:
    return sample("multiprom_series_overflow_total", metric="requests")


def test_further_label_sets_are_one_child() -> None:
    metric = limited(3)
    for path in "abcdcda":
        metric.labels(path).inc()
    # The one for the rest is one of the three.
    assert sorted(map(tuple, metric._metrics)) == [(OVERFLOW,), ("a",), ("b",)]
    assert sample("requests_total", path="a") == 2
    assert sample("requests_total", path=OVERFLOW) == 4
    assert overflows() == 4


def test_all_metrics_have_the_limit_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPROM_SERIES_LIMIT", "2")
    multiprom.install()
    metric = Counter("requests", "Help", ["path"], registry=None)
    without = limited(None)
    for path in "abc":
        metric.labels(path).inc()
        without.labels(path).inc()
    assert sorted(map(tuple, metric._metrics)) == [(OVERFLOW,), ("a",)]
    assert sorted(map(tuple, without._metrics)) == [("a",), ("b",), ("c",)]
    # The counter of overflows itself has as many label sets as there are metrics.
    for name in "abc":
        other = Gauge(name, "Help", ["path"], registry=None)
        other.labels("1")
        other.labels("2")
        assert sample("multiprom_series_overflow_total", metric=name) == 1


@pytest.mark.parametrize("value", ["many", "-5", "1,000", "1.5"])
def test_a_limit_that_is_no_number_is_none(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MULTIPROM_SERIES_LIMIT", value)
    multiprom.install()
    multiprom.install()
    metric = Counter("requests", "Help", ["path"], registry=None)
    for path in "abc":
        metric.labels(path)
    assert len(metric._metrics) == 3
    fault = "not a whole number from 0 up: there is no limit"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f'MULTIPROM_SERIES_LIMIT is "{value}", which is {fault}']


def test_a_limit_of_one_and_children_that_are_there_already() -> None:
    metric = limited(1)
    metric.labels("a").inc()
    assert list(metric._metrics) == [(OVERFLOW,)]
    multiprom.limit_series(metric, None)
    metric.labels("b").inc()
    multiprom.limit_series(metric, 1)
    metric.labels("b").inc()
    assert sample("requests_total", path="b") == 2


class Method(enum.Enum):
    GET = "get"

    def __str__(self) -> str:
        return self.value


def test_whatever_stands_for_a_label() -> None:
    metric = limited(2, "method", "path")
    metric.labels(Method.GET, 1)
    assert metric.labels(path=1, method=Method.GET) is metric.labels("get", "1")
    rest = metric.labels(path=2, method=Method.GET)
    assert rest is metric.labels(Method.GET, 3)
    assert rest._labelvalues == (OVERFLOW, OVERFLOW)
    assert overflows() == 2


def test_errors_are_prometheus_clients() -> None:
    metric = limited(1, "method", "path")
    rest = metric.labels("a", "b")
    with pytest.raises(ValueError, match="Incorrect label count"):
        metric.labels("a")
    with pytest.raises(ValueError, match="Incorrect label names"):
        metric.labels(method="a", other="b")
    with pytest.raises(ValueError, match="both"):
        metric.labels("a", path="b")
    with pytest.raises(ValueError, match="already has labels"):
        rest.labels("a", "b")
    assert overflows() == 1


@pytest.mark.parametrize("limit", [0, -1])
def test_there_is_one_label_set_at_least(limit: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        limited(limit)


def test_only_metrics_with_labels_have_a_limit() -> None:
    child = limited(5).labels("a")
    for other in (Counter("other", "Help", registry=None), child, None):
        with pytest.raises(TypeError, match="not a metric with labels"):
            multiprom.limit_series(other, 5)


def test_one_warning_names_the_labels_that_make_it_many(caplog: pytest.LogCaptureFixture) -> None:
    metric = limited(6, "method", "path")
    for number in range(10):
        metric.labels("get", number).inc()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "metric 'requests' has 6 label sets in this process, which is its limit: all others are "
        "counted as __overflow__ (label 'path' has 6 values, 'method' has 2 values)"
    )


def test_the_warning_of_one_label_set_has_no_plural(caplog: pytest.LogCaptureFixture) -> None:
    metric = limited(1)
    metric.labels("a").inc()
    (record,) = caplog.records
    assert record.getMessage() == (
        "metric 'requests' has 1 label set in this process, which is its limit: all others are "
        "counted as __overflow__ (label 'path' has 1 value)"
    )


def test_without_a_limit_ten_thousand_label_sets_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metric = Gauge("jobs", "Help", ["id", "kind"], registry=None, multiprocess_mode="sum")
    for number in range(9_999):
        metric.labels(number, number % 2).set(1)
    assert caplog.records == []
    for number in range(9_999, 10_002):
        metric.labels(number, 0).set(1)
    (record,) = caplog.records
    assert record.getMessage() == (
        "metric 'jobs' has 10000 label sets in this process, and each takes memory and time of a "
        "scrape: limit them with MULTIPROM_SERIES_LIMIT or multiprom.limit_series "
        "(label 'id' has 9999 values, 'kind' has 2 values)"
    )
    assert len(metric._metrics) == 10_002


def test_a_log_handler_that_counts_lines_may_be_at_its_limit() -> None:
    metric = limited(2)

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            metric.labels(record.levelname).inc()

    handler = Counting()
    logging.getLogger("multiprom").addHandler(handler)
    try:
        for path in "abc":
            metric.labels(path).inc()
    finally:
        logging.getLogger("multiprom").removeHandler(handler)
    assert sample("requests_total", path=OVERFLOW) == 3


def test_histograms_overflow_as_a_whole() -> None:
    metric = Histogram("took", "Help", ["path"], registry=None, buckets=(1.0,))
    multiprom.limit_series(metric, 1)
    metric.labels("a").observe(0.5)
    metric.labels("b").observe(2)
    assert sample("took_bucket", path=OVERFLOW, le="1.0") == 1
    assert sample("took_count", path=OVERFLOW) == 2


FUNCTION: Any = """
import multiprom, sys
multiprom.install(sys.argv[1])
from prometheus_client import Gauge
from support.warned import messages
gauge, other = (Gauge(name, "Help", registry=None) for name in "ab")
labelled = Gauge("c", "Help", ["x"], registry=None)
try:
    labelled.set_function(lambda: 1)
except ValueError:
    assert messages == []
else:
    raise AssertionError("a function of a gauge that has label names")
gauge.set_function(lambda: 1)
other.set_function(lambda: 2)
labelled.labels(1).set_function(lambda: 3)
other.set(1)
(message,) = messages
assert "gauge 'a'" in message and "call set()" in message, message
assert [sample.value for sample in other._child_samples()] == [2]
"""


def test_a_function_of_a_gauge_is_warned_of_once(directory: Path) -> None:
    run(FUNCTION, directory)
