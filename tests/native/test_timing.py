"""What `time()` and `track_inprogress()` give: clocks, callbacks and errors are the program's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import Counter, Gauge, Histogram, Summary, context_managers, metrics
from prometheus_client.context_managers import InprogressTracker, Timer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _installed(directory: Path) -> None:
    multiprom.install(directory)
    assert not hasattr(Timer.__enter__, "__code__")


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a list of what the clock of timers tells next."""
    found: list[Any] = []
    monkeypatch.setattr(context_managers, "default_timer", lambda: found.pop(0))
    return found


@pytest.mark.parametrize(
    ("start", "end", "duration"),
    [(1.0, 3.5, 2.5), (3.5, 1.0, 0), (1, 3, 2), (3, 1, 0), (1.0, 1.0, 0.0), (1, 2.5, 1.5)],
)
def test_what_the_clock_tells(times: Any, start: Any, end: Any, duration: Any) -> None:
    times += [start, end]
    observed: list[Any] = []

    class Watched(Summary):
        def observe(self, amount: float) -> None:
            observed.append(amount)
            super().observe(amount)

    summary = Watched("s", "Help", registry=None)
    with summary.time() as timer:
        assert type(timer) is Timer
        assert repr(timer._start) == repr(start)
    assert repr(timer.duration) == repr(duration)
    assert list(map(repr, observed)) == [repr(duration)]
    assert (summary._count.get(), summary._sum.get()) == (1, duration)


def test_a_time_of_a_type_of_its_own(times: Any) -> None:
    from fractions import Fraction

    times += [Fraction(1, 3), Fraction(4, 3)]
    gauge = Gauge("g", "Help", registry=None)
    with gauge.time() as timer:
        pass
    assert timer.duration == Fraction(1)
    assert type(timer.duration) is Fraction
    assert gauge._value.get() == 1


def test_a_decorated_function(times: Any) -> None:
    times += [1.0, 2.0, 3.0, 7.0]
    histogram = Histogram("h", "Help", buckets=[2, 4], registry=None)

    @histogram.time()
    def function(depth: int, *, default: int = 7) -> int:
        return default if depth == 0 else function(depth - 1)

    assert function(1) == 7
    assert [value.get() for value in histogram._buckets] == [1, 0, 1]


def test_another_class_of_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(Timer):
        def __init__(self, metric: Any, callback_name: str) -> None:
            super().__init__(metric, callback_name)
            made.append(callback_name)

    made: list[str] = []
    monkeypatch.setattr(metrics, "Timer", Noted)
    histogram = Histogram("h", "Help", registry=None)
    histogram.time()(lambda: None)()
    with Summary("s", "Help", registry=None).time() as timer:
        assert type(timer) is Noted
    assert made == ["observe"] * 3
    monkeypatch.setattr(metrics, "Timer", lambda *arguments: list(arguments))
    given: Any = histogram.time()
    assert given == [histogram, "observe"]


@pytest.mark.parametrize("name", ["__init__", "__setattr__"])
def test_a_patched_class_of_timers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def patched(*arguments: Any) -> None:
        calls.append(name)
        stock(*arguments)

    calls: list[str] = []
    stock = getattr(Timer, name)
    monkeypatch.setattr(Timer, name, patched)
    histogram = Histogram("h", "Help", registry=None)
    histogram.time()(lambda: None)()
    # One timer is made by time(), the other by the call.
    assert len(calls) >= 2
    assert histogram._sum.get() > 0


@pytest.mark.parametrize("arguments", [("a",), ("a", "b")])
def test_too_many_arguments(arguments: tuple[str, ...]) -> None:
    histogram = Histogram("h", "Help", registry=None)
    methods: tuple[Any, ...] = (histogram.time, histogram.time()._new_timer)
    for method in methods:
        given = f"takes 1 positional argument but {len(arguments) + 1} were given"
        with pytest.raises(TypeError, match=given):
            method(*arguments)


def test_labels_within_the_block() -> None:
    summary = Summary("s", "Help", ["label"], registry=None)
    with summary.time() as timer:
        timer.labels("a")
    assert summary.labels("a")._count.get() == 1


def test_an_error_passes_and_is_timed() -> None:
    summary = Summary("s", "Help", registry=None)
    gauge = Gauge("g", "Help", registry=None)
    inside = []

    @summary.time()
    @gauge.track_inprogress()
    def fail() -> None:
        inside.append(gauge._value.get())
        raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert inside == [1]
    assert (summary._count.get(), gauge._value.get()) == (1, 0)


def test_errors_of_a_timer() -> None:
    counter = Counter("c", "Help", registry=None)
    with pytest.raises(AttributeError, match="'Timer' object has no attribute '_start'"):
        Timer(counter, "inc").__exit__(None, None, None)
    missing = pytest.raises(AttributeError, match="'Counter' object has no attribute 'observe'")
    with missing, Timer(counter, "observe"):
        pass
    with pytest.raises(ZeroDivisionError), Timer(Failing(), "observe") as timer:
        pass
    assert timer.duration >= 0


class Failing:
    def observe(self, _: float) -> None:
        raise ZeroDivisionError


def test_a_gauge_that_the_program_has_overridden() -> None:
    calls: list[str] = []

    class Watched(Gauge):
        def inc(self, amount: float = 1) -> None:
            calls.append("inc")
            super().inc(amount)

        def dec(self, amount: float = 1) -> None:
            calls.append("dec")
            super().dec(amount)

    gauge = Watched("g", "Help", registry=None)
    with gauge.track_inprogress():
        pass

    @gauge.track_inprogress()
    def function() -> float:
        value: float = gauge._value.get()
        return value

    assert function() == 1
    assert calls == ["inc", "dec"] * 2
    assert gauge._value.get() == 0


def test_subclasses_of_what_they_give() -> None:
    summary = Summary("s", "Help", registry=None)
    gauge = Gauge("g", "Help", registry=None)

    class Named(Timer):
        def __enter__(self) -> Any:
            self.name = "named"
            return super().__enter__()

    class Tracker(InprogressTracker):
        def __exit__(self, *arguments: object) -> None:
            super().__exit__(*arguments)
            gauge.set(5)

    with Named(summary, "observe") as timer, Tracker(gauge):
        assert timer.name == "named"
    assert (summary._count.get(), gauge._value.get()) == (1, 5)


def test_the_time_of_what_is_set_last(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    gauge = Gauge("g", "Help", multiprocess_mode="mostrecent", registry=None)
    before = time.time()
    gauge.set(1)
    assert before <= timestamp(directory) <= time.time()
    monkeypatch.setattr(time, "time", lambda: 12.5)
    gauge.set(2)
    assert timestamp(directory) == 12.5
    monkeypatch.setattr(time, "time", lambda: 13)
    gauge.set(3)
    assert timestamp(directory) == 13
    with pytest.raises(RuntimeError, match="mostrecent"):
        gauge.inc()
    assert gauge._value.get() == 3


def timestamp(directory: Path) -> float:
    from prometheus_client.mmap_dict import MmapedDict

    (file,) = directory.glob("gauge_mostrecent_*.db")
    ((_, _, found, _),) = MmapedDict.read_all_values_from_file(str(file))
    return float(found)
