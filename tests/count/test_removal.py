"""`remove`, `remove_by_labels` and `clear` reach what is in files, also of the dead.

None of them warns any more: warnings are errors here, also in the scripts.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.multiprocess import MultiProcessCollector as StockCollector
from support import stock
from support.interpreters import another, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HAS_REMOVE_BY_LABELS = hasattr(Counter, "remove_by_labels")


@pytest.fixture(autouse=True)
def _installed(directory: Path) -> Iterator[None]:
    multiprom.install(directory)
    yield
    multiprom.uninstall()


def counter(*names: str) -> Counter:
    return Counter("requests", "Help", names or ("path",), registry=None)


def samples(name: str = "requests_total") -> dict[Any, float]:
    """Return the values of the samples of this name, by their labels."""
    metrics = multiprom.MultiProcessCollector(None).collect()
    found = [sample for metric in metrics for sample in metric.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


def test_a_series_is_gone_from_the_next_scrape() -> None:
    metric = counter()
    metric.labels("a").inc()
    metric.labels("b").inc(2)
    metric.remove("a")
    assert samples() == {("b",): 2}
    assert ("a",) not in metric._metrics
    metric.remove("a")
    metric.remove("never")
    assert samples() == {("b",): 2}


def test_made_again_it_begins_at_nothing() -> None:
    metric = counter()
    for _ in range(3):
        metric.labels("a").inc(5)
        assert samples() == {("a",): 5}
        metric.remove("a")
        assert samples() == {}
    metric.labels("a")
    assert samples() == {("a",): 0}


def test_a_child_that_was_removed_counts_nowhere() -> None:
    metric = counter()
    child = metric.labels("a")
    child.inc()
    metric.remove("a")
    child.inc()
    assert samples() == {}
    again = metric.labels("a")
    again.inc(7)
    child.inc()
    child._value.set(100)
    assert samples() == {("a",): 7}
    assert (child._value.get(), again._value.get()) == (0, 7)


def test_every_type_goes_as_a_whole() -> None:
    summary = Summary("size", "Help", ["path"], registry=None)
    histogram = Histogram("took", "Help", ["path"], registry=None)
    gauges = [
        Gauge(f"jobs_{mode}", "Help", ["path"], registry=None, multiprocess_mode=mode)  # type: ignore[arg-type]
        for mode in stock.GAUGE_MODES
    ]
    for metric in (summary, histogram):
        metric.labels("a").observe(1)
        metric.labels("b").observe(1)
    for gauge in gauges:
        gauge.labels("a").set(3)
        gauge.labels("b").set(3)
    for removed in (summary, histogram, *gauges):
        removed.remove("a")
    for name in ("size_count", "size_sum", "took_bucket", "took_count", "took_sum"):
        assert {labels[0] for labels in samples(name)} == {"b"}
    for gauge in gauges:
        assert {labels[0] for labels in samples(gauge._name)} == {"b"}
        gauge.labels("a").set(-4)
        found = {labels[0]: value for labels, value in samples(gauge._name).items()}
        assert found == {"a": -4, "b": 3}


if HAS_REMOVE_BY_LABELS:

    def test_by_some_of_the_labels() -> None:
        metric = counter("method", "path")
        for method in ("get", "put"):
            for path in ("1", "2"):
                metric.labels(method, path).inc()
        metric.remove_by_labels({})
        metric.remove_by_labels({"path": "3"})
        assert len(samples()) == 4
        metric.remove_by_labels({"path": "1"})
        assert samples() == {("get", "2"): 1, ("put", "2"): 1}
        metric.remove_by_labels(labels={"method": "get", "path": "2"})
        assert samples() == {("put", "2"): 1}

    def test_errors_of_remove_by_labels_are_prometheus_clients() -> None:
        metric = counter("method", "path")
        wrongs: list[Any] = [[], {"other": 1, "path": 2, "another": 3}]
        for wrong in wrongs:
            expected = error(STOCK_BY_LABELS, metric, wrong)
            assert error(metric.remove_by_labels, wrong) == expected

    STOCK_BY_LABELS: Any = vars(Counter.__mro__[1])["remove_by_labels"]


STOCK_REMOVE: Any = vars(Counter.__mro__[1])["remove"]


def error(call: Any, *arguments: Any) -> tuple[type[Exception], str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((TypeError, ValueError)) as raised:
            call(*arguments)
    return raised.type, str(raised.value)


def test_errors_are_prometheus_clients() -> None:
    metric = counter("method", "path")
    plain = Counter("plain", "Help", registry=None)
    for target, arguments in ((metric, ("a",)), (metric, ()), (plain, ("a",)), (plain, ())):
        expected = error(STOCK_REMOVE, target, *arguments)
        assert error(target.remove, *arguments) == expected
    plain.clear()


def test_clear() -> None:
    metric = counter()
    child = metric.labels("a")
    metric.labels("b").inc()
    metric.clear()
    assert samples() == {}
    child.inc()
    metric.labels("b").inc(3)
    assert samples() == {("b",): 3}


def test_another_metric_of_the_same_name_goes_on() -> None:
    first, second = counter(), counter()
    first.labels("a").inc()
    other = second.labels("a")
    other.inc()
    first.remove("a")
    assert samples() == {}
    other.inc(4)
    assert samples() == {("a",): 4}


def test_what_moved_into_files_goes_too(directory: Path) -> None:
    multiprom.uninstall()
    metric = Counter("moved", "Help", ["path"])
    try:
        metric.labels("a").inc()
        metric.labels("b").inc()
        multiprom.install(directory)
        metric.remove("a")
        assert samples("moved_total") == {("b",): 1}
        metric.labels("a").inc(2)
        assert samples("moved_total") == {("a",): 2, ("b",): 1}
    finally:
        REGISTRY.unregister(metric)


def test_the_child_of_a_fork_has_what_was_not_removed() -> None:
    metric = counter()
    removed = metric.labels("a")
    metric.labels("b").inc()
    metric.remove("a")
    if (pid := os.fork()) == 0:
        status = 1
        try:
            removed.inc()
            metric.labels("b").inc()
            metric.labels("c").inc()
            metric.remove("c")
            status = int(samples() != {("b",): 2})
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert samples() == {("b",): 2}


SECOND = """
import sys
import multiprom
multiprom.install()
from prometheus_client import Counter
metric = Counter("requests", "Help", ["path"], registry=None)
metric.labels("a").inc(10)
print(1, flush=True)
sys.stdin.readline()
metric.remove("a")
print(2, flush=True)
sys.stdin.readline()
"""


def test_other_processes_keep_what_they_have(directory: Path) -> None:
    metric = counter()
    metric.labels("a").inc()
    with another(directory, SECOND) as (process, _):
        metric.remove("a")
        assert samples() == {("a",): 10}
        metric.labels("a").inc(2)
        assert samples() == {("a",): 12}
        metric.remove("a")
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "2\n"
        assert samples() == {}


@pytest.mark.usefixtures("automatic")
def test_what_the_dead_have_left_goes_at_the_next_scrape(directory: Path) -> None:
    metric = counter()
    script = "import multiprom; multiprom.install(); import prometheus_client as p; "
    script += "c = p.Counter('requests', 'Help', ['path']); c.labels('a').inc(9)"
    run(f"{script}; c.labels('b').inc()", PROMETHEUS_MULTIPROC_DIR=directory)
    metric.labels("a").inc()
    assert samples() == {("a",): 10, ("b",): 1}
    assert (directory / "counter_compacted.db").exists()
    metric.remove("a")
    assert samples() == {("b",): 1}
    metric.labels("a").inc(2)
    assert samples() == {("a",): 2, ("b",): 1}
    # In one go, and with somebody else's scrape.
    run(script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert samples() == {("a",): 11, ("b",): 1}
    metric.remove("a")
    metric.labels("a").inc(3)
    text = run(
        "import multiprom; from prometheus_client import CollectorRegistry; "
        "r = CollectorRegistry(); multiprom.MultiProcessCollector(r); "
        "print(multiprom.generate_latest(r).decode())",
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert 'requests_total{path="a"} 3.0\n' in text
    assert samples() == {("a",): 3, ("b",): 1}


def test_without_sweeps_compact_does_it(directory: Path) -> None:
    run(
        "import multiprom; multiprom.install(); import prometheus_client as p; "
        "p.Counter('requests', 'Help', ['path']).labels('a').inc(9)",
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    metric = counter()
    multiprom.compact()
    metric.labels("a").inc()
    metric.remove("a")
    assert samples() == {("a",): 9}
    multiprom.compact()
    assert samples() == {}


def test_prometheus_client_reads_the_files(directory: Path) -> None:
    metric = counter()
    histogram = Histogram("took", "Help", ["path"], registry=None)
    for path in "ab":
        metric.labels(path).inc(3)
        histogram.labels(path).observe(1)
    metric.remove("a")
    histogram.remove("a")
    metric.labels("a").inc(2)
    metric.remove("a")
    # Which puts prometheus_client's own collector back.
    multiprom.uninstall()
    families = StockCollector(CollectorRegistry(), str(directory)).collect()
    seen = [sample for family in families for sample in family.samples]
    found = {(sample.name, sample.labels["path"]): sample.value for sample in seen}
    assert found["requests_total", "a"] == 0
    assert found["requests_total", "b"] == 3
    assert found["took_count", "a"] == 0
    assert found["took_count", "b"] == 1


def test_a_file_is_continued_without_what_was_removed(directory: Path) -> None:
    script = """
        import sys
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values
        values.ValueClass = values.MultiProcessValue(lambda: "fixed")
        metric = Counter("requests", "Help", ["path"], registry=None)
        metric.labels("b").inc()
        if sys.argv[1] == "first":
            metric.labels("a").inc()
            metric.remove("a")
        else:
            metric.labels("a")
    """
    run(script, "first", PROMETHEUS_MULTIPROC_DIR=directory)
    assert samples() == {("b",): 1}
    run(script, "second", PROMETHEUS_MULTIPROC_DIR=directory)
    assert samples() == {("a",): 0, ("b",): 2}


def test_files_that_are_removed_come_back_without_it(directory: Path) -> None:
    metric = counter()
    metric.labels("a").inc()
    metric.labels("b").inc()
    metric.remove("a")
    for file in directory.glob("*.db"):
        file.unlink()
    assert samples() == {("b",): 1}
    metric.labels("a").inc()
    assert samples() == {("a",): 1, ("b",): 1}


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize("archived", [False, True])
def test_room_of_series_that_come_and_go(directory: Path, archived: bool) -> None:
    if archived:
        run(
            "import multiprom; multiprom.install(); import prometheus_client as p; "
            "p.Counter('jobs', 'Help').inc(9)",
            PROMETHEUS_MULTIPROC_DIR=directory,
        )
        multiprom.compact()
        assert (directory / "counter_compacted.db").exists()
    metric = counter()
    metric.labels("stays").inc(7)
    sizes = []
    for number in range(20_000):
        metric.labels(number).inc()
        metric.remove(number)
        if number % 1000 == 999:
            (file,) = directory.glob(f"counter_{os.getpid()}.db")
            sizes.append(file.stat().st_size)
    assert max(sizes) <= 1 << 20
    assert min(sizes[5:]) < max(sizes), "the file is written anew"
    assert samples() == {("stays",): 7}
    assert not list(directory.glob(".*.tmp"))
    metric.labels("stays").inc()
    assert samples() == {("stays",): 8}


def test_after_uninstall_prometheus_client_warns_again() -> None:
    metric = counter()
    metric.labels("a").inc()
    multiprom.uninstall()
    with pytest.warns(UserWarning, match="Removal"):
        metric.remove("a")


def test_threads_that_count_while_it_is_removed_raise_nothing(directory: Path) -> None:
    script = """
        import threading
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Histogram
        metric = Counter("requests", "Help", ["path"])
        histogram = Histogram("took", "Help", ["path"])
        stop = threading.Event()

        def count():
            while not stop.is_set():
                metric.labels("a").inc()
                histogram.labels("a").observe(1)

        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2000):
            metric.remove("a")
            histogram.clear()
        stop.set()
        for thread in threads:
            thread.join()
        metric.clear()
        histogram.clear()
        print(multiprom.MultiProcessCollector(None).collect())
    """
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == "[]\n"
