"""New children: made natively, they are what prometheus_client's constructors make of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from prometheus_client import Counter, Gauge, Histogram, Summary, metrics, values
from support.files import values_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("installed")

MAKERS: dict[str, Callable[[], Any]] = {
    "counter": lambda: Counter("c_total", "Help", ["a", "b"], "n", "s", "u", None),
    "gauge": lambda: Gauge("g", "Help", ["b", "a"], registry=None, multiprocess_mode="sum"),
    "most recent": lambda: Gauge(
        "r", "Help", ["a", "b"], registry=None, multiprocess_mode="livemostrecent"
    ),
    "summary": lambda: Summary("s", 'H"é\\lp\n', ["a", "b"], unit="bytes", registry=None),
    "histogram": lambda: Histogram("h", "Help", ["a", "z"], registry=None),
    "large bounds": lambda: Histogram(
        "l", "Help", ["b", "m"], buckets=[-1, "0.5", 1e6, 2.5e9, 1e22], registry=None
    ),
}
LABELS = ("x", 'y\n"é')
# Children of versions whose constructors take other names are prometheus_client's own.
ARE_NATIVE = "_original_name" in vars(Counter("n", "Help", registry=None))
# Before any install().
STOCK: dict[Any, Any] = {
    owner: vars(owner)["_metric_init"] for owner in (Counter, Gauge, Summary, Histogram)
}


def shown(metric: Any) -> dict[str, Any]:
    """Return the attributes of a metric; of values, and of the time, only the type."""
    found = dict(vars(metric))
    for name, item in found.items():
        if isinstance(item, values.ValueClass) or name == "_created":
            found[name] = type(item)
        elif name == "_buckets":
            found[name] = [type(value) for value in item]
    return found


def constructed(metric: Any, labels: tuple[str, ...] = ()) -> Any:
    """Return a child as `labels` of prometheus_client's constructs it."""
    owner = type(metric)
    names = {"name": metric._name}
    if ARE_NATIVE:
        names = {
            "name": metric._original_name,
            "namespace": metric._namespace,
            "subsystem": metric._subsystem,
        }
    with mock.patch.object(owner, "_metric_init", STOCK[owner]):
        return owner(
            **names,
            documentation=metric._documentation,
            labelnames=metric._labelnames,
            unit=metric._unit,
            _labelvalues=labels,
            **metric._kwargs,
        )


def count(child: Any) -> None:
    """Count 3 once."""
    (getattr(child, "observe", None) or getattr(child, "set", None) or child.inc)(3)


def written(directory: Path) -> dict[str, dict[str, float]]:
    return {file.name: values_of(file) for file in directory.glob("*.db")}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_child_is_as_the_constructor_makes_it(kind: str, directory: Path) -> None:
    metric = MAKERS[kind]()
    # Which the constructor calls.
    with mock.patch.object(metrics, "_build_full_name", wraps=metrics._build_full_name) as build:
        child = metric.labels(*LABELS)
    assert build.called is not ARE_NATIVE
    assert metric.labels(*LABELS) is child
    count(child)
    before = written(directory)
    expected = constructed(metric, LABELS)
    assert type(child) is type(expected)
    assert list(vars(child)) == list(vars(expected))
    assert shown(child) == shown(expected)
    # The same series in the same order.
    assert [list(found) for found in written(directory).values()] == [
        list(found) for found in before.values()
    ]
    count(expected)
    assert child.collect()[0].samples[0] == expected.collect()[0].samples[0]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_metric_without_labels(kind: str, directory: Path) -> None:
    with mock.patch.object(metrics, "_validate_labelnames", return_value=()):
        metric = MAKERS[kind]()
    count(metric)
    before = written(directory)
    count(constructed(metric))
    after = written(directory)
    assert [list(found) for found in after.values()] == [list(found) for found in before.values()]


def test_what_a_program_changes_is_heeded() -> None:
    """A constructor, a subclass, keyword arguments that nobody knows."""
    made: list[Any] = []

    class Own(Counter):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            made.append(self)

        def _metric_init(self) -> None:
            super()._metric_init()
            self._own = True

    own = Own("o", "Help", ["label"], registry=None)
    child = own.labels(1)
    assert made == [own, child]
    assert child._own

    called: list[Any] = []
    counter = Counter("c", "Help", ["label"], registry=None)
    stock = metrics.MetricWrapperBase.__init__

    def init(self: Any, *arguments: Any, **keywords: Any) -> None:
        called.append(self)
        stock(self, *arguments, **keywords)

    with mock.patch.object(metrics.MetricWrapperBase, "__init__", init):
        assert [counter.labels(1)] == called
    counter._kwargs["surprise"] = 1
    with pytest.raises(TypeError, match="surprise"):
        counter.labels(2)
    with mock.patch.object(Counter, "_metric_init", lambda self: called.append(self._labelvalues)):
        counter._kwargs.clear()
        counter.labels(3)
    assert called[-1] == ("3",)


def test_what_may_have_no_children() -> None:
    counter = Counter("c", "Help", ["label"], registry=None)
    child = counter.labels("a")
    for metric, text in ((child, "already has labels set"), (counter, "Incorrect label count")):
        metric._metrics = {}
        with pytest.raises(ValueError, match=text):
            metric.labels(*["b"] * (1 if metric is child else 2))
        assert metric._metrics == {}


def test_other_values_are_made_by_the_constructor() -> None:
    """Of prometheus_client's class in memory, of a program's class, of a patched one."""
    histogram = Histogram("h", "Help", ["label"], registry=None)
    with mock.patch.object(values, "ValueClass", values.MutexValue):
        assert type(histogram.labels("a")._sum) is values.MutexValue

    class Own(values.ValueClass):  # type: ignore[misc]
        pass

    with mock.patch.object(values, "ValueClass", Own):
        assert {type(value) for value in histogram.labels("b")._buckets} == {Own}
    with mock.patch.object(values, "mmap_key", return_value='["h", "h", {}, ""]') as key:
        assert type(histogram.labels("c")._sum) is values.ValueClass
    assert key.call_count == 16


def test_text_that_no_file_can_hold_is_left_to_prometheus_client() -> None:
    child = Counter("c", "Help", ["label"], registry=None).labels("\ud800")
    child.inc()
    assert child._value.get() == 1


def test_threads_that_make_one_child_get_the_same() -> None:
    histogram = Histogram("h", "Help", ["label"], registry=None)
    barrier = threading.Barrier(4)
    found: list[list[Any]] = [[] for _ in range(4)]

    def work(children: list[Any]) -> None:
        for number in range(200):
            barrier.wait()
            child = histogram.labels(number)
            child.observe(1)
            children.append(child)

    threads = [threading.Thread(target=work, args=(children,)) for children in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2] == found[3] == list(histogram._metrics.values())
    assert {child._sum.get() for child in found[0]} == {4.0}


def test_values_in_memory_have_one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    multiprom.uninstall()
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    multiprom.install()
    metric = MAKERS["gauge"]()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(metric.labels("x", "y")))
    stock = Gauge._metric_init

    def init(child: Gauge) -> None:
        stock(child)
        if thread.ident is None:
            thread.start()
            # It waits for the lock that is held here.
            thread.join(0.2)

    monkeypatch.setattr(Gauge, "_metric_init", init)
    # Not a plain string: prometheus_client makes this child.
    label = type("Text", (str,), {})("x")
    child = metric.labels(label, "y")
    thread.join()
    assert found == [child] == [metric.labels("x", "y")]


@pytest.mark.parametrize("kind", ["counter", "summary", "histogram"])
def test_a_child_that_is_made_while_its_metric_is_cleared(
    kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that is not among those of its metric would count, and no `clear` would find it."""
    metric = MAKERS[kind]()
    clearing = threading.Thread(target=metric.clear)

    def now() -> float:
        if clearing.ident is None:
            clearing.start()
            # prometheus_client's own function has locked the metric.
            clearing.join(None if ARE_NATIVE else 0.2)
        return 1.5

    monkeypatch.setattr(metrics, "time", mock.Mock(time=now))
    count(metric.labels(*LABELS))
    clearing.join()
    metric.clear()
    assert multiprom.MultiProcessCollector(None, str(directory)).collect() == []
