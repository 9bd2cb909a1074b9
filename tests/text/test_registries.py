"""A registry prints the same bytes, whatever stands in it beside the collector of the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom import collector, registries
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    HistogramMetricFamily,
    StateSetMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.samples import Exemplar, Timestamp
from support import stock
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


class Families:
    """Collects whatever it was made with: with units, timestamps, exemplars."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def rich() -> Families:
    with_unit = CounterMetricFamily("sent_bytes", 'A "help"\n\\', labels=["a"], unit="bytes")
    with_unit.add_metric(['\\\n"'], 3, created=1.5, timestamp=Timestamp(1700000000, 5))
    with_exemplar = HistogramMetricFamily(
        "took",
        "Help",
        buckets=[("1.0", 1, Exemplar({"id": "é"}, 0.5, 1.7e9)), ("+Inf", 2)],
        sum_value=3.0,
    )
    return Families(
        with_unit,
        with_exemplar,
        GaugeHistogramMetricFamily("sizes", "Help", buckets=[("+Inf", 2)], gsum_value=4.0),
        StateSetMetricFamily("state", "Help", {"up": True, "down": False}),
        UnknownMetricFamily("mystery", "Help", value=1e16),
    )


@pytest.fixture(autouse=True)
def _files(directory: Path) -> None:
    entries = [counter(n, name, code=code) for n, name in enumerate("zm") for code in "ba"]
    write(directory / "counter_1.db", entries)
    write(
        directory / "counter_2.db",
        [*entries[::-1], counter(3, "a\\b" if stock.UTF8_NAMES else "a_b")],
    )
    buckets = [Entry("wait", "wait_bucket", {"le": bound}, value=1) for bound in ("1", "+Inf")]
    write(directory / "histogram_1.db", [*buckets, Entry("wait", "wait_sum", value=0.25)])
    write(directory / "gauge_all_1.db", [Entry("jobs", "jobs", value=2)])


def both(fill: Callable[[Any, Any], object], **arguments: Any) -> tuple[Any, Any]:
    """Return two registries that differ in nothing but the class of the collector."""
    ours, theirs = CollectorRegistry(**arguments), CollectorRegistry(**arguments)
    fill(ours, multiprom.MultiProcessCollector)
    fill(theirs, stock.SortedCollector)
    return ours, theirs


def assert_same(ours: Any, theirs: Any) -> None:
    expected = stock.texts(theirs)
    assert len(set(expected.values())) > 1
    assert stock.texts(ours, multiprom.generate_latest, openmetrics_latest) == expected


def test_alone() -> None:
    assert_same(*both(lambda registry, collector: collector(registry)))


def test_empty() -> None:
    registry = CollectorRegistry()
    assert multiprom.generate_latest(registry) == b""
    assert openmetrics_latest(registry) == b"# EOF\n"


def metrics(registry: Any) -> None:
    """Register some of the usual metrics, which live in this process."""
    Counter("own_requests", "Help", ["x"], registry=registry).labels("1").inc()
    Gauge("own_jobs", "Help", registry=registry).set(1e6)
    Info("own_build", "Help", registry=registry).info({"version": "1"})


def test_others_before() -> None:
    def fill(registry: Any, collector: Any) -> None:
        registry.register(rich())
        collector(registry)

    assert_same(*both(fill))


def test_others_behind() -> None:
    def fill(registry: Any, collector: Any) -> None:
        collector(registry)
        registry.register(rich())

    assert_same(*both(fill))


def test_others_around(monkeypatch: pytest.MonkeyPatch) -> None:
    # The samples `_created` carry the time.
    monkeypatch.setattr("time.time", lambda: 1.7e9)

    def fill(registry: Any, collector: Any) -> None:
        metrics(registry)
        collector(registry)
        registry.register(rich())
        Summary("own_size", "Help", registry=registry).observe(2)
        Histogram("own_took", "Help", registry=registry).observe(2)

    ours, theirs = both(fill)
    assert_same(ours, theirs)
    text = multiprom.generate_latest(ours).decode()
    names = ["own_requests_total{", "m_total{", "sent_bytes_total{", "own_took_count "]
    places = [text.index("\n" + name) for name in names]
    assert places == sorted(places)


def test_two_directories(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other / "counter_1.db", [counter(100, "z", code="a")])

    def fill(registry: Any, collector: Any) -> None:
        collector(registry)
        registry.register(rich())
        collector(registry, other)

    assert_same(*both(fill))


def test_twice_in_one_registry() -> None:
    def fill(registry: Any, collector: Any) -> None:
        collector(registry)
        collector(registry)

    assert_same(*both(fill))


def test_what_is_registered_meanwhile_fails_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    expected = multiprom.generate_latest(registry.restricted_registry(["jobs"]))
    reads_directory = collector.reads_directory

    def register_meanwhile(collector: object) -> bool:
        """Do what another thread may do at any moment."""
        registry.register(Families())
        return reads_directory(collector)

    monkeypatch.setattr(registries, "reads_directory", register_meanwhile)
    assert multiprom.generate_latest(registry.restricted_registry(["jobs"])) == expected


def test_target_info() -> None:
    def fill(registry: Any, collector: Any) -> None:
        collector(registry)
        metrics(registry)

    ours, theirs = both(fill, target_info={"service": 'a"b\\'})
    own = stock.texts(ours, multiprom.generate_latest, openmetrics_latest)
    for format_, text in stock.texts(theirs).items():
        # Whatever else is in there, `_created` of the two registries differs by some microseconds.
        assert without_created(own[format_]) == without_created(text)
        assert b"service=" in text


def without_created(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if b"created" not in line.split(b" ")[0]]


class TestForeignRegistry:
    """Anything that collects can be printed: projects bring registries of their own."""

    def test_only_collect(self) -> None:
        class Registry:
            def __init__(self, collector: Any) -> None:
                self._collector = collector

            def collect(self) -> Iterator[Metric]:
                yield from self._collector.collect()

        assert_same(
            Registry(multiprom.MultiProcessCollector(None)), Registry(stock.SortedCollector(None))
        )

    def test_a_collector_itself(self) -> None:
        assert_same(multiprom.MultiProcessCollector(None), stock.SortedCollector(None))

    def test_a_subclass_that_filters(self) -> None:
        class Registry(CollectorRegistry):
            def collect(self) -> Iterator[Metric]:
                return (metric for metric in super().collect() if metric.name != "m")

        ours, theirs = Registry(), Registry()
        multiprom.MultiProcessCollector(ours)
        stock.SortedCollector(theirs)
        assert_same(ours, theirs)
        assert b"m_total" not in multiprom.generate_latest(ours)

    def test_a_subclass_that_inherits_collect(self, directory: Path) -> None:
        class Registry(CollectorRegistry):
            """Knows who registered what, or suchlike."""

        ours, theirs = Registry(auto_describe=True), Registry(auto_describe=True)
        multiprom.MultiProcessCollector(ours)
        stock.SortedCollector(theirs)
        assert_same(ours, theirs)
        assert_same(ours.restricted_registry(["jobs"]), theirs.restricted_registry(["jobs"]))
        # prometheus_client's own collector gives whole pids only where its files are read in Rust.
        write(directory / "gauge_all_a_1.db", [Entry("jobs", "jobs", value=2)])
        registry = Registry(auto_describe=True)
        stock.MultiProcessCollector(registry)
        for source in (registry, registry.restricted_registry(["jobs"])):
            assert b'\njobs{pid="a_1"} 2.0\n' in multiprom.generate_latest(source)
            if stock.ESCAPINGS:
                # Before 0.23 OpenMetrics is left to prometheus_client.
                assert b'\njobs{pid="a_1"} 2.0\n' in openmetrics_latest(source)

    def test_an_instance_that_is_patched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry)
        monkeypatch.setattr(registry, "collect", rich().collect)
        text = multiprom.generate_latest(registry)
        assert b"mystery 1e+16\n" in text
        assert b"jobs" not in text


class TestRestricted:
    NAMES = ("z_total", "wait_bucket", "wait_sum", "jobs", "mystery", "missing", "target_info")

    @staticmethod
    def fill(registry: Any, collector: Any) -> None:
        collector(registry)

    @pytest.mark.parametrize("auto_describe", [False, True])
    @pytest.mark.parametrize("name", NAMES)
    def test_one_name(self, name: str, auto_describe: bool) -> None:
        ours, plain = both(self.fill, auto_describe=auto_describe, target_info={"a": "b"})
        # prometheus_client finds what files hold only in a registry that asks collectors for names.
        _, theirs = both(self.fill, auto_describe=True, target_info={"a": "b"})
        expected = stock.texts(theirs.restricted_registry([name]))
        if not stock.ESCAPINGS:
            # Before prometheus_client 0.23 its own code writes OpenMetrics.
            expected |= {
                ("openmetrics",): stock.texts(plain.restricted_registry([name]))[("openmetrics",)]
            }
        assert (
            stock.texts(
                ours.restricted_registry([name]),
                multiprom.generate_latest,
                openmetrics_latest,
            )
            == expected
        )

    def test_several_names(self) -> None:
        ours, theirs = both(self.fill, auto_describe=True)
        assert_same(ours.restricted_registry(self.NAMES), theirs.restricted_registry(self.NAMES))
        text = multiprom.generate_latest(ours.restricted_registry(self.NAMES))
        assert b"wait_bucket" in text
        assert b"wait_count" not in text
        assert b"m_total" not in text

    if stock.NAMELESS_COLLECTORS:

        @pytest.mark.parametrize("name", NAMES)
        def test_collectors_without_names(self, name: str) -> None:
            arguments = {"support_collectors_without_names": True, "target_info": {"a": "b"}}
            ours, theirs = both(self.fill, **arguments)
            expected = stock.texts(theirs.restricted_registry([name]))
            assert (
                stock.texts(
                    ours.restricted_registry([name]),
                    multiprom.generate_latest,
                    openmetrics_latest,
                )
                == expected
            )
            assert multiprom.generate_latest(ours.restricted_registry(["jobs"])) != b""


class TestErrors:
    def test_of_another_collector_are_raised(self) -> None:
        class Broken:
            def collect(self) -> Iterable[Metric]:
                msg = "broken"
                raise RuntimeError(msg)

        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry)
        registry.register(Broken())
        with pytest.raises(RuntimeError, match="broken"):
            multiprom.generate_latest(registry)

    def test_name_the_metric(self) -> None:
        """prometheus_client adds the metric that cannot be printed to the exception."""
        bad = UnknownMetricFamily("bad", "Help")
        bad.add_sample("bad", {}, "no number")  # type: ignore[arg-type]
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry)
        registry.register(Families(bad))
        for text in (multiprom.generate_latest, openmetrics_latest):
            with pytest.raises(ValueError, match="no number") as raised:
                text(registry)
            assert raised.value.args[-1] is bad
