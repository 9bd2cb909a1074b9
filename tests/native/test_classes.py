"""prometheus_client's classes, as programs look at them, derive from them and patch them."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary, metrics, values
from prometheus_client.context_managers import InprogressTracker, Timer
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("installed")

METHODS: list[tuple[Any, str]] = [
    (metrics.MetricWrapperBase, "labels"),
    (Counter, "inc"),
    (Gauge, "inc"),
    (Gauge, "dec"),
    (Gauge, "set"),
    (Gauge, "set_function"),
    (metrics.MetricWrapperBase, "clear"),
    (Histogram, "observe"),
    (Summary, "observe"),
    (Info, "info"),
    (Enum, "state"),
    (Counter, "_metric_init"),
    (Gauge, "_metric_init"),
    (Summary, "_metric_init"),
    (Histogram, "_metric_init"),
    (Timer, "__enter__"),
    (Timer, "__exit__"),
    (InprogressTracker, "__enter__"),
    (InprogressTracker, "__exit__"),
]
if sys.version_info < (3, 13):
    METHODS += [(Summary, "time"), (Histogram, "time"), (Timer, "_new_timer")]
# Before any install().
STOCK = {(owner, name): vars(owner)[name] for owner, name in METHODS}
methods = pytest.mark.parametrize(
    ("owner", "name"), METHODS, ids=[f"{owner.__name__}.{name}" for owner, name in METHODS]
)


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = list(inspect.signature(function).parameters.values())
    # `self` can be given by position only.
    assert found[0].name == "self"
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found[1:]]


@methods
def test_a_method_looks_as_it_did(owner: Any, name: str) -> None:
    found, stock = vars(owner)[name], STOCK[owner, name]
    assert found is not stock
    assert inspect.isroutine(found)
    assert (found.__name__, found.__qualname__) == (stock.__name__, stock.__qualname__)
    assert parameters(found) == parameters(stock)
    assert (found.__doc__ or None) == stock.__doc__


@methods
def test_a_method_can_be_pickled(owner: Any, name: str) -> None:
    assert pickle.loads(pickle.dumps(getattr(owner, name))) is getattr(owner, name)


@methods
def test_uninstall_puts_it_back(owner: Any, name: str) -> None:
    native = vars(owner)[name]
    multiprom.uninstall()
    assert vars(owner)[name] is STOCK[owner, name]
    multiprom.install()
    assert vars(owner)[name] is not STOCK[owner, name]
    # Twice is once.
    again = vars(owner)[name]
    multiprom.install()
    assert vars(owner)[name] is again
    assert again is not native


@methods
def test_a_patch_stays_when_multiprom_comes_or_goes(owner: Any, name: str) -> None:
    multiprom.uninstall()
    for change in (multiprom.install, multiprom.uninstall):
        with mock.patch.object(owner, name) as patch:
            change()
            assert vars(owner)[name] is patch
    with mock.patch.object(owner, name, STOCK[owner, name]):
        multiprom.install()
    assert vars(owner)[name] is STOCK[owner, name]


@methods
def test_a_function_with_other_parameters_is_left(owner: Any, name: str) -> None:
    """A newer prometheus_client may do more."""
    multiprom.uninstall()
    stock = STOCK[owner, name]
    first = "typ, " if "exit" in name else ""
    made: dict[str, Any] = {}
    exec(f"def changed(self, {first}new=None): pass", stock.__globals__, made)
    changed = made["changed"]
    changed.__qualname__ = stock.__qualname__
    with mock.patch.object(owner, name, changed):
        multiprom.install()
        assert vars(owner)[name] is changed
    multiprom.install()


def test_a_wrapper_with_the_same_parameters_is_left() -> None:
    multiprom.uninstall()
    calls = []

    @functools.wraps(Counter.inc)
    def inc(self: Any, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        calls.append(amount)
        STOCK[Counter, "inc"](self, amount, exemplar)

    with mock.patch.object(Counter, "inc", inc):
        multiprom.install()
        Counter("n", "Help", registry=None).inc(3)
        multiprom.uninstall()
        assert vars(Counter)["inc"] is inc
    assert calls == [3]


@methods
def test_calls_that_no_signature_allows(owner: Any, name: str) -> None:
    """The error is prometheus_client's."""
    instance = owner.__new__(owner)
    errors = []
    for function in (vars(owner)[name], STOCK[owner, name]):
        with pytest.raises((TypeError, AttributeError, ValueError)) as caught:
            function(instance, *"123456", other=7)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_a_mock_with_the_signature() -> None:
    specified = mock.create_autospec(Counter, instance=True)
    specified.inc(2, exemplar=None)
    specified.inc.assert_called_once_with(2, exemplar=None)
    assert not hasattr(specified.inc, "observe")


def test_a_subclass_overrides_and_calls_its_base() -> None:
    class Doubling(Counter):
        def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
            super().inc(2 * amount, exemplar)

        def labels(self, *values: Any, **names: Any) -> Doubling:
            return super().labels(*[f"<{value}>" for value in values], **names)

    counter = Doubling("n", "Help", ["label"], registry=None)
    for _ in range(2):
        child = counter.labels("a")
        child.inc()
    assert type(child) is Doubling
    assert list(counter._metrics) == [("<a>",)]
    assert child._value.get() == 4


def test_a_child_that_was_removed_is_made_anew() -> None:
    gauge = Gauge("n", "Help", ["label"], registry=None)
    first = gauge.labels("a")
    assert gauge.labels(label="a") is gauge.labels("a") is first
    gauge.remove("a")
    second = gauge.labels("a")
    assert second is not first
    gauge.clear()
    assert gauge.labels("a") not in (first, second)
    children: Any = gauge._metrics
    children["a",] = first
    assert gauge.labels("a") is first


def test_exemplars_are_checked() -> None:
    counter = Counter("n", "Help", registry=None)
    histogram = Histogram("h", "Help", registry=None)
    for count in (counter.inc, histogram.observe):
        with pytest.raises(ValueError, match="Exemplar labels"):
            count(1, {"label": "x" * 200})
        count(1, {"label": "x"})
    assert counter._value.get() == histogram._sum.get() == 2


def test_a_patched_value_class_is_called() -> None:
    counter = Counter("n", "Help", registry=None)
    counter.inc()
    calls = []
    with mock.patch.object(values.ValueClass, "inc", lambda _, amount: calls.append(amount)):
        counter.inc(3)
        Histogram("h", "Help", registry=None).observe(7)
    counter.inc()
    assert calls == [3, 7, 1]
    assert counter._value.get() == 2


def test_a_value_class_of_the_program_is_called() -> None:
    class Doubling(values.ValueClass):  # type: ignore[misc]
        def inc(self, amount: float) -> None:
            super().inc(2 * amount)

    with mock.patch.object(values, "ValueClass", Doubling):
        counter = Counter("n", "Help", registry=None)
        summary = Summary("s", "Help", registry=None)
        histogram = Histogram("h", "Help", registry=None)
    counter.inc()
    summary.observe(2)
    histogram.observe(3)
    assert [value.get() for value in (counter._value, summary._sum, histogram._sum)] == [2, 4, 6]


def test_an_identifier_of_the_program_is_asked_each_time(directory: Path) -> None:
    identifier = "a"
    made = multiprom.MultiProcessValue(lambda: identifier)
    with mock.patch.object(values, "ValueClass", made):
        counter = Counter("n", "Help", registry=None)
    counter.inc()
    identifier = "b"
    counter.inc()
    assert sorted(file.name for file in directory.glob("*.db")) == ["counter_a.db", "counter_b.db"]
    made.close_all_files()


def test_attributes_that_were_exchanged() -> None:
    """As multiprom does, when metrics move to another directory."""
    histogram = Histogram("h", "Help", buckets=[1, 2], registry=None)
    histogram.observe(1)
    other = Histogram("other", "Help", buckets=[1, 2], registry=None)
    histogram._sum, histogram._buckets = other._sum, other._buckets
    histogram.observe(1.5)
    assert [value.get() for value in (other._sum, *other._buckets)] == [1.5, 0, 1, 0]
    bucket = other._buckets[1]
    with mock.patch.object(bucket, "inc") as inc:
        histogram.observe(2)
    inc.assert_called_once_with(1)


def test_prometheus_client_imported_anew(directory: Path) -> None:
    """Old objects go on with what they know, and new ones with the new functions."""
    printed = run(
        """
        import sys
        import multiprom
        multiprom.install()
        import prometheus_client
        from prometheus_client import context_managers
        old = prometheus_client.Summary("s", "Help", registry=None)
        old_class = prometheus_client.Summary
        for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
            del sys.modules[name]
        import prometheus_client
        from prometheus_client import context_managers as new_context_managers
        multiprom.install()
        assert prometheus_client.Summary is not old_class
        new = prometheus_client.Summary("t", "Help", registry=None)
        for module, summary in ((context_managers, old), (new_context_managers, new)):
            module.default_timer = iter([1.0, 3.5]).__next__
            with summary.time():
                pass
            summary.observe(1)
            try:
                summary.observe("x")
            except TypeError as error:
                print(summary._sum.get(), error.__traceback__.tb_next is not None)
        multiprom.uninstall()
        print(type(prometheus_client.Summary.observe).__name__)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "3.5 True\n3.5 True\nfunction\n"


def test_a_patched_new_gets_the_arguments_of_the_call(directory: Path) -> None:
    # In an interpreter of its own: a class whose `__new__` was patched never works as before.
    printed = run(
        """
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Histogram, context_managers
        def patched(cls, *arguments, **keywords):
            print(cls.__name__, len(arguments) + len(keywords) > 1)
            return object.__new__(cls)
        counter, histogram = Counter("c", "Help", ["label"]), Histogram("h", "Help")
        Counter.__new__ = context_managers.Timer.__new__ = patched
        counter.labels("x").inc()
        histogram.time()(lambda: None)()
        print(counter.labels("x")._value.get(), histogram._buckets[0].get())
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed.splitlines() == ["Counter True", "Timer True", "Timer True", "1.0 1.0"]


def test_metrics_made_before_count_where_install_has_moved_them(directory: Path) -> None:
    multiprom.uninstall()
    counter = Counter("n", "Help", registry=None)
    histogram = Histogram("h", "Help", buckets=[1, 2], registry=None)
    summary = Summary("s", "Help", registry=None)
    olds = [counter._value, histogram._buckets[1], histogram._sum, summary._count, summary._sum]

    def count() -> list[float]:
        counter.inc()
        histogram.observe(2)
        summary.observe(3)
        return [value.get() for value in olds]

    assert count() == [1, 1, 2, 1, 3]
    multiprom.install(directory, also=[counter, histogram, summary])
    assert count() == [2, 2, 4, 2, 6]
    with mock.patch.object(olds[0], "inc") as inc:
        assert count() == [2, 3, 6, 3, 9]
    inc.assert_called_once_with(1)
    multiprom.uninstall()
    assert count() == [3, 4, 8, 4, 12]
