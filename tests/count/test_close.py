"""What values do after their files were closed, and at the very end of an interpreter.

They answer, and count on without counting twice; at the end nothing is printed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import multiprom
import prometheus_client
import pytest
from prometheus_client import values
from support import ours, stock
from support.equality import samples
from support.files import MAGIC, Entry, magic, values_of, write
from support.interpreters import command, environment, run

# Since 0.26; before, each class is closed by itself.
CLOSE_ALL = getattr(values, "close_all_multiprocess_files", None)


def open_files(directory: Path) -> set[str]:
    """Return the metrics files of a directory that this process holds open."""
    links = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        # The one that lists them is gone.
        with contextlib.suppress(FileNotFoundError):
            links.add(descriptor.readlink())
    return {link.name for link in links if link.parent == directory and link.suffix == ".db"}


def test_values_answer(made: Any) -> None:
    value, untouched = ours.value(made), ours.value(made, "untouched")
    value.inc(5)
    for _ in range(2):
        made.close_all_files()
        assert (value.get(), untouched.get()) == (5.0, 0.0)


def test_closing_nothing(made: Any) -> None:
    made.close_all_files()
    made.close_all_files()
    ours.value(made).inc(1)
    made.close_all_files()
    assert ours.value(made).get() == 1.0


def test_closed_files_stay_the_process_s_own(made: Any, directory: Path) -> None:
    """They could be folded otherwise, and a value that is set again would count on top."""
    held = [ours.value(made, typ=typ) for typ in ("counter", "summary")]
    assert open_files(directory) == {"counter_w.db", "summary_w.db"}
    made.close_all_files()
    assert open_files(directory) == {"counter_w.db", "summary_w.db"}
    assert multiprom.compact().files_folded == 0
    assert [value.get() for value in held] == [0.0, 0.0]
    made._value_class.end()
    assert open_files(directory) == set()
    assert [value.get() for value in held] == [0.0, 0.0]
    # To ask is not to count.
    assert open_files(directory) == set()
    assert multiprom.compact().files_folded == 2


@pytest.mark.parametrize("times", [1, 3])
def test_the_closed_file_is_continued(times: int, made: Any, directory: Path) -> None:
    value, other = ours.value(made), ours.value(made, "other")
    value.inc(5)
    other.inc(7)
    for number in range(times):
        made.close_all_files()
        value.inc(1)
        assert value.get() == 6.0 + number
    other.inc(1)
    assert [file.name for file in directory.glob("*.db")] == ["counter_w.db"]
    assert values_of(directory / "counter_w.db") == {"requests_total": 5.0 + times, "other": 8.0}


def test_live_gauges_of_the_process_itself_are_continued_too(made: Any, directory: Path) -> None:
    """They start anew for a new process; this one still lives."""
    gauge, other = (ours.value(made, name, typ="gauge", mode="livesum") for name in ("a", "b"))
    gauge.set(5)
    other.set(3)
    made.close_all_files()
    gauge.inc(1)
    other.inc(1)
    assert (gauge.get(), other.get()) == (6.0, 4.0)
    assert values_of(directory / "gauge_livesum_w.db") == {"a": 6.0, "b": 4.0}


def test_set_after_close(made: Any, directory: Path) -> None:
    gauge = ours.value(made, typ="gauge", mode="mostrecent")
    gauge.set(5, timestamp=3)
    made.close_all_files()
    gauge.set(2, timestamp=4)
    assert gauge.get() == 2.0
    assert values_of(directory / "gauge_mostrecent_w.db") == {"requests_total": 2.0}


def test_if_the_closed_file_is_gone_only_what_is_new_is_written(made: Any, directory: Path) -> None:
    """Whoever removed it did not want its counts any more."""
    value = ours.value(made)
    value.inc(5)
    made.close_all_files()
    (directory / "counter_w.db").unlink()
    value.inc(1)
    assert values_of(directory / "counter_w.db") == {"requests_total": 1.0}


def test_if_another_has_counted_in_the_closed_file(made: Any, directory: Path) -> None:
    value = ours.value(made)
    value.inc(5)
    made.close_all_files()
    with stock.process(directory, "w"):
        theirs: Any = values.ValueClass
        ours.value(theirs).inc(10)
    assert values_of(directory / "counter_w.db") == {"requests_total": 15.0}
    value.inc(1)
    assert values_of(directory / "counter_w.db") == {"requests_total": 16.0}


def test_if_the_name_has_another_file_now(made: Any, directory: Path) -> None:
    value = ours.value(made)
    value.inc(5)
    made.close_all_files()
    (directory / "counter_w.db").unlink()
    write(
        directory / "counter_w.db",
        [Entry("requests", "requests_total", value=100), Entry("a", "a")],
    )
    value.inc(1)
    assert values_of(directory / "counter_w.db") == {"requests_total": 101.0, "a": 0.0}


def test_another_process_does_not_take_the_closed_file(made: Any, directory: Path) -> None:
    value = ours.value(made)
    value.inc(5)
    made.close_all_files()
    script = """
    import sys
    import multiprom
    made = multiprom.MultiProcessValue(lambda: "w")
    made("counter", "requests", "n_total", (), (), "Help").inc(1)
    print("ready", flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        command(script),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        value.inc(1)
        other.communicate()
    assert values_of(directory / "counter_w.db") == {"requests_total": 6.0}
    assert values_of(directory / "counter_w-1.db") == {"n_total": 1.0}


@pytest.mark.parametrize("times", [1, 2])
def test_all_classes_at_once(times: int, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """prometheus_client's function for that, where it has one, closes ours too.

    What counts after it does so in the directory that the variable names by then.
    """
    with ours.value_class(lambda: "a") as first, ours.value_class(lambda: "b") as second:
        held = [ours.value(first), ours.value(second)]
        closing = [CLOSE_ALL] if CLOSE_ALL else [first.close_all_files, second.close_all_files]
        places = [directory, *(directory / str(number) for number in range(times))]
        for place in places:
            place.mkdir(exist_ok=True)
            monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(place))
            for value in held:
                value.inc(5)
            assert open_files(place) == {"counter_a.db", "counter_b.db"}
            for close in closing:
                close()
            assert [value.get() for value in held] == [5.0] * 2
    for place in places:
        for name in ("counter_a.db", "counter_b.db"):
            assert values_of(place / name) == {"requests_total": 5.0}
            assert magic(place / name) == MAGIC


def test_a_metric_that_counts_again_is_in_the_scrape(directory: Path) -> None:
    multiprom.install()
    histogram = prometheus_client.Histogram("took", "Help", buckets=[1], registry=None)
    histogram.observe(0.5)
    values.ValueClass.close_all_files()
    histogram.observe(3)
    found = samples(multiprom.MultiProcessCollector(None).collect())
    assert found["took_bucket", (("le", "1.0"),)] == 1.0
    assert found["took_count", ()] == 2.0
    assert found["took_sum", ()] == 3.5
    values.ValueClass.close_all_files()
    assert [file.name for file in directory.glob("*.db")] == [f"histogram_{os.getpid()}.db"]


# After all modules are gone, builtins is cleared.
AT_THE_END = """
import builtins, os
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
counter, gauge = Counter("n", "Help"), Gauge("g", "Help", multiprocess_mode="sum")
counter.inc()

class AtTheEnd:
    def __del__(self, inc=counter.inc, set=gauge.set, make=values.ValueClass):
        inc()
        set(2)
        make("summary", "s", "s", (), (), "Help").inc(3)

builtins.at_the_end = AtTheEnd()
"""


@pytest.mark.parametrize(
    "before", ["", "values.ValueClass.close_all_files()", "os.fork() and os.wait()"]
)
def test_of_the_process(before: str, directory: Path) -> None:
    assert run(AT_THE_END + before, PROMETHEUS_MULTIPROC_DIR=directory) == ""
    found: dict[str, list[float]] = {}
    for file in directory.glob("*.db"):
        for name, value in values_of(file).items():
            found.setdefault(name, []).append(value)
    if before.startswith("os.fork"):
        assert {name: sorted(values) for name, values in found.items()} == {
            "n_total": [1.0, 2.0],
            "g": [2.0, 2.0],
            "s": [3.0, 3.0],
        }
    else:
        assert found == {"n_total": [2.0], "g": [2.0], "s": [3.0]}


def test_of_a_sub_interpreter_that_nobody_ends(directory: Path) -> None:
    """The process ends it, and does not wait for ever."""
    printed = run(
        """
        import warnings
        # Python 3.14 says that it is left.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        left = interpreters.create()
        interpreters.run_string(left, "import multiprom.values")
        print("ends")
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "ends\n"
