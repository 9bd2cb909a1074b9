"""Code that counts while a count, or the making of a value, is under way in the same thread.

A signal handler runs between any two bytecodes, a GC callback wherever an object is made, a log
handler when we warn. With a lock each of them would wait for itself, for ever.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from multiprom import _core
from prometheus_client import mmap_dict, values
from support import ours
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_signal_handler(directory: Path) -> None:
    """It comes in wherever our code calls Python: for the key, the identifier, a warning."""
    printed = run(
        """
        import os, signal, sys
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Gauge, Histogram, mmap_dict, values

        def slow_key(*arguments):
            for _ in range(20):
                pass
            return mmap_dict.mmap_key(*arguments)

        def identify():
            for _ in range(20):
                pass
            return "w"

        values.mmap_key = slow_key
        values.ValueClass = multiprom.MultiProcessValue(identify)
        outside = Counter("outside", "Help", registry=None)
        inside = Counter("inside", "Help", registry=None)
        gauge = Gauge("level", "Help", registry=None, multiprocess_mode="sum")
        took = Histogram("took", "Help", registry=None, buckets=[1])
        calls = 0

        def handler(*_):
            global calls
            calls += 1
            inside.inc()
            outside.inc()
            gauge.inc()
            took.observe(0.5)
            # Also metrics are made there.
            values.ValueClass("counter", "h", "h", ["n"], [str(calls)], "Help").inc(1)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        count = 0
        while calls < 1000:
            count += 1
            outside.inc()
            gauge.dec()
            took.observe(2)
            made = values.ValueClass("counter", "m", "m", ["n"], [str(count % 2000)], "Help")
            made.inc(1)
            del made
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(outside._value.get() == count + calls, inside._value.get() == calls)
        print(gauge._value.get() == calls - count)
        print([bucket.get() for bucket in took._buckets] == [calls, count])
        print(calls, count)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    *checks, numbers = printed.splitlines()
    assert checks == ["True True", "True", "True"]
    calls, count = map(float, numbers.split())
    found = values_of(directory / "counter_w.db")
    assert found["outside_total"] == calls + count
    assert found["inside_total"] == calls
    assert sum(value for name, value in found.items() if name.startswith("h ")) == calls
    assert sum(value for name, value in found.items() if name.startswith("m ")) == count


def test_a_gc_callback(directory: Path) -> None:
    printed = run(
        """
        import gc
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values

        collections = Counter("collections", "Help", registry=None)
        requests = Counter("requests", "Help", ["n"], registry=None)
        calls = 0

        def callback(phase, info):
            global calls
            calls += 1
            collections.inc()
            values.ValueClass("counter", "c", "c", ["n"], [str(calls % 500)], "Help").inc(1)

        class Counting:
            # Counts when it is collected: also while our code makes objects.
            def __init__(self):
                self.cycle = self

            def __del__(self):
                collections.inc(1000)

        # At each chance, which without a GIL is one in hundreds of objects.
        gc.set_threshold(1, 0)
        gc.callbacks.append(callback)
        made = 0
        while made < 3000 or calls <= 1000:
            Counting()
            requests.labels(str(made % 1000)).inc()
            made += 1
        gc.callbacks.remove(callback)
        gc.collect()
        print(calls, made, collections._value.get())
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    calls, made, counted = map(float, printed.split())
    assert counted == calls + 1000 * made
    [file] = directory.glob("*.db")
    found = values_of(file)
    assert found["collections_total"] == counted
    assert sum(value for name, value in found.items() if name.startswith("requests")) == made
    assert sum(value for name, value in found.items() if name.startswith("c ")) == calls


def test_a_key_function(made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts, and makes values of its own, while a value is made."""
    calls = ours.value(made, "calls")

    def counting_key(*arguments: Any) -> str:
        calls.inc(1)
        if arguments[1] == "requests_total":
            ours.value(made, "inner").inc(1)
            ours.value(made, "inner", typ="summary").inc(1)
        return mmap_dict.mmap_key(*arguments)

    monkeypatch.setattr(values, "mmap_key", counting_key)
    ours.value(made).inc(1)
    ours.value(made, typ="histogram").inc(1)
    # Two that were made here, and two in each of those.
    assert values_of(directory / "counter_w.db") == {
        "calls": 6.0,
        "inner": 2.0,
        "requests_total": 1.0,
    }
    assert values_of(directory / "summary_w.db") == {"inner": 2.0}
    assert values_of(directory / "histogram_w.db") == {"requests_total": 1.0}


def test_a_key_function_that_makes_the_same_value(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def making_key(*arguments: Any) -> str:
            patch.setattr(values, "mmap_key", mmap_dict.mmap_key)
            ours.value(made).inc(1)
            return mmap_dict.mmap_key(*arguments)

        patch.setattr(values, "mmap_key", making_key)
        ours.value(made).inc(1)
    assert values_of(directory / "counter_w.db") == {"requests_total": 2.0}


def test_a_key_function_that_closes_all_files(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = ours.value(made, "earlier")
    earlier.inc(1)

    def closing_key(*arguments: Any) -> str:
        made.close_all_files()
        return mmap_dict.mmap_key(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(values, "mmap_key", closing_key)
        value = ours.value(made)
    value.inc(1)
    earlier.inc(1)
    assert values_of(directory / "counter_w.db") == {"earlier": 2.0, "requests_total": 1.0}


def test_an_identifier_function(directory: Path) -> None:
    """It counts, and the identifier changes just while it is asked for."""
    inside = False
    identifier = "a"
    asked: Any = None

    def identify() -> str:
        nonlocal inside
        if asked is not None and not inside:
            inside = True
            asked.inc(1)
            inside = False
        return identifier

    with ours.value_class(identify) as made:
        asked = ours.value(made, "asked")
        value = ours.value(made)
        value.inc(1)
        identifier = "b"
        value.inc(1)
        assert value.get() == 1.0
    for name in "ab":
        found = values_of(directory / f"counter_{name}.db")
        assert found["requests_total"] == 1.0
        assert found["asked"] >= 1.0


def test_an_amount(made: Any, directory: Path) -> None:
    """A number that counts when it is turned into one."""
    value = ours.value(made)

    class Amount:
        def __float__(self) -> float:
            value.inc(1)
            ours.value(made, "n", "x" * 100_000).inc(1)
            return 10.0

    value.set(3)
    value.set(Amount())
    assert value.get() == 10.0
    found = values_of(directory / "counter_w.db")
    assert found["requests_total"] == 10.0


def test_a_log_handler(directory: Path) -> None:
    """Programs count what they log, and we log when there is trouble."""
    printed = run(
        """
        import logging, os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Gauge, Summary, values

        class Counting(logging.Handler):
            def emit(self, record):
                logged.inc()
                labelled.labels(record.levelname).inc()
                values.ValueClass("summary", "m", "m", (), (), "Help").inc(1)

        logger = logging.getLogger("multiprom")
        logger.addHandler(Counting())
        logged = Counter("logged", "Help")
        labelled = Counter("labelled", "Help", ["level"])
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/proc/nowhere"
        summary = Summary("took", "Help")
        summary.observe(1)
        Gauge("n", "Help", multiprocess_mode="max").set(1)
        print(logged._value.get(), labelled.labels("WARNING")._value.get(), summary._sum.get())
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "1.0 1.0 1.0\n"


COUNTING_LINES = """
import faulthandler, fcntl, logging, os, sys
faulthandler.dump_traceback_later(20, exit=True)
import multiprom
multiprom.install()
from prometheus_client import Counter, REGISTRY

class Counting(logging.Handler):
    def emit(self, record):
        lines.labels(record.levelname).inc()

lines = Counter("lines", "Help", ["level"])
logging.getLogger().addHandler(Counting())
"""


def _count_lines(directory: Path | str, script: str) -> str:
    return run(
        COUNTING_LINES
        + textwrap.dedent(script)
        + "\nprint(lines.labels('WARNING')._value.get())\n",
        PROMETHEUS_MULTIPROC_DIR=directory,
    )


@pytest.mark.parametrize("where", ["nowhere", "held"])
def test_a_log_handler_that_counts_lines_by_level(directory: Path, where: str) -> None:
    """prometheus_client has locked the metric while the value of a child is made."""
    if where == "nowhere":
        printed = _count_lines("/proc/nowhere", "logging.getLogger('app').warning('Hello')")
    else:
        printed = _count_lines(
            directory,
            f"""
            file = open(f"{directory}/counter_{{os.getpid()}}.db", "w")
            fcntl.flock(file, fcntl.LOCK_EX)
            logging.getLogger("app").warning("Hello")
            """,
        )
    # The line, and our warning.
    assert printed == "2.0\n"


def test_a_log_handler_that_counts_when_the_directory_is_named_late() -> None:
    """All metrics move while the first value of a child is made, and there is a warning."""
    printed = _count_lines(
        "",
        """
        earlier = Counter("earlier", "Help")
        earlier.inc()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/proc/nowhere"
        logging.getLogger("app").warning("Hello")
        """,
    )
    assert printed == "2.0\n"


def test_a_log_handler_that_counts_when_a_metric_cannot_move(directory: Path) -> None:
    printed = run(
        COUNTING_LINES.replace("multiprom.install()", "")
        + """
class Refusing(Counter):
    def _metric_init(self):
        if hasattr(self, "_value"):
            raise RuntimeError("once only")
        super()._metric_init()

refusing = Refusing("refusing", "Help")
multiprom.install()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
logging.getLogger("app").warning("Hello")
lines.labels("ERROR").inc()
print(lines.labels("WARNING")._value.get())
""",
        directory,
    )
    assert printed == "2.0\n"


def test_what_is_to_be_said_later_is_logged_when_something_counts(
    made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    value = ours.value(made)
    value.inc(1)
    _core.warn_later("Something is odd")

    def count() -> str:
        value.inc(1)
        value.set(3)
        value.get()
        return "counted"

    assert _core.hold_back(count) == "counted"
    assert caplog.messages == []
    ours.value(made, "other")
    assert caplog.messages == []
    value.inc(1)
    assert caplog.messages == ["Something is odd"]
    _core.warn_later("Something else")
    value.get()
    _core.warn_later("A third thing")
    value.set(1)
    _core.warn_later("The last")
    _core.write_unwritten()
    assert caplog.messages[1:] == ["Something else", "A third thing", "The last"]
