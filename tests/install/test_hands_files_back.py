"""uninstall() gives files to prometheus_client's writer, which holds no lock: none may be folded.

A file with multiprom's mark that nobody holds is that of a dead process. If it were folded, what
the living process counts afterwards would go into a file that is not there any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import MAGIC, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, sys
from prometheus_client import Counter, Gauge, values
import multiprom
counter = Counter("n", "Help")
counter.inc(1)

def total(name="n_total"):
    collector = multiprom.MultiProcessCollector(None)
    return [s.value for metric in collector.collect() for s in metric.samples if s.name == name]
"""

FINISH = """
sys.stdout.flush()
# prometheus_client leaves its files open.
os._exit(0)
"""


def counted(script: str, directory: Path) -> list[str]:
    printed = run(
        COUNTED + script + FINISH,
        PROMETHEUS_MULTIPROC_DIR=directory,
        MULTIPROM_COMPACTION="on",
    )
    return printed.splitlines()


@pytest.mark.parametrize("who", ["this process", "another process"])
def test_what_is_counted_afterwards_is_not_lost(who: str, directory: Path) -> None:
    script = f"""
multiprom.install()
counter.inc(10)
multiprom.uninstall()
counter.inc(100)
if {who!r} == "this process":
    multiprom.compact()
else:
    pid = os.fork()
    if pid == 0:
        multiprom.compact()
        os._exit(0)
    os.waitpid(pid, 0)
counter.inc(1000)
print(counter._value.get(), total())
multiprom.install()
counter.inc(10000)
print(counter._value.get(), total(), os.getpid())
"""
    first, second = counted(script, directory)
    assert first == "1111.0 [1111.0]"
    values, _, pid = second.rpartition(" ")
    assert values == "11111.0 [11111.0]"
    # Taken back, it is ours again.
    assert magic(directory / f"counter_{pid}.db") == MAGIC


def test_files_of_a_class_that_had_nothing_to_move(directory: Path) -> None:
    """prometheus_client's class had no values, but has some in the same files afterwards."""
    script = """
values.ValueClass = stock = values.MultiProcessValue(lambda: "w")
multiprom.install()
late = Counter("late", "Help")
late.inc(1)
multiprom.uninstall()
assert values.ValueClass is stock
Counter("latest", "Help").inc(1)
multiprom.compact()
latest = Counter("last", "Help")
latest.inc(5)
late.inc(1)
multiprom.compact()
latest.inc(5)
print(total("late_total"), latest._value.get())
"""
    assert counted(script, directory) == ["[2.0] 10.0"]
    assert values_of(directory / "counter_w.db") == {
        "late_total": 1.0,
        "latest_total": 1.0,
        "last_total": 10.0,
    }
    assert magic(directory / "counter_w.db") == bytes(4)
    # What was made meanwhile stays ours: two writers would damage the file.
    assert values_of(directory / "counter_w-1.db") == {"late_total": 1.0}
    assert magic(directory / "counter_w-1.db") == MAGIC


def test_a_fork_afterwards_writes_no_file_twice(directory: Path) -> None:
    script = """
multiprom.install()
late = Counter("late", "Help")
multiprom.uninstall()
pid = os.fork()
if pid == 0:
    counter.inc(1)
    late.inc(1)
    for number in range(3):
        Counter(f"m{number}", "Help").inc(1)
    os._exit(0)
print(pid, os.waitpid(pid, 0)[1])
"""
    [line] = counted(script, directory)
    pid, status = line.split()
    assert status == "0"
    assert values_of(directory / f"counter_{pid}.db") == {
        "n_total": 1.0,
        **{f"m{number}_total": 1.0 for number in range(3)},
    }
    assert values_of(directory / f"counter_{pid}-1.db") == {"late_total": 1.0}


def test_files_that_are_only_closed_are_nobodys(directory: Path) -> None:
    script = """
multiprom.install()
counter.inc(10)
values.ValueClass.close_all_files()
print(multiprom.compact().files_folded, total())
"""
    assert counted(script, directory) == ["1 [11.0]"]


@pytest.mark.parametrize("how", ["values.ValueClass.close_all_files()", "close_all()"])
def test_files_that_were_closed_before(how: str, directory: Path) -> None:
    script = f"""
multiprom.install()
close_all = getattr(values, "close_all_multiprocess_files", values.ValueClass.close_all_files)
counter.inc(10)
{how}
multiprom.uninstall()
counter.inc(100)
pid = os.fork()
if pid == 0:
    multiprom.compact()
    os._exit(0)
os.waitpid(pid, 0)
counter.inc(1000)
print(counter._value.get(), total())
"""
    assert counted(script, directory) == ["1111.0 [1111.0]"]


def test_files_of_another_identifier_that_comes_again(directory: Path) -> None:
    script = """
identifier = "a"
values.ValueClass = values.MultiProcessValue(lambda: identifier)
other = Counter("other", "Help")
multiprom.install()
other.inc(1)
identifier = "b"
other.inc(1)
identifier = "a"
other.inc(1)
multiprom.uninstall()
"""
    assert counted(script, directory) == []
    for identifier in "ab":
        assert magic(directory / f"counter_{identifier}.db") == bytes(4), identifier


def test_files_of_other_classes_stay_theirs(directory: Path) -> None:
    """Else nobody would ever fold them."""
    script = """
batch = multiprom.MultiProcessValue(lambda: "batch")
multiprom.install()
counter.inc(1)
batch("counter", "x", "x_total", (), (), "Help").inc(5)
batch.close_all_files()
multiprom.uninstall()
print(os.getpid())
"""
    [pid] = counted(script, directory)
    assert magic(directory / f"counter_{pid}.db") == bytes(4)
    assert magic(directory / "counter_batch.db") == MAGIC


def test_another_class_of_the_same_identifier(directory: Path) -> None:
    """It would write the file that prometheus_client writes."""
    script = """
multiprom.install()
other = multiprom.MultiProcessValue()
value = other("counter", "x", "x_total", (), (), "Help")
value.inc(5)
counter.inc(10)
multiprom.uninstall()
late = Counter("late", "Help")
late.inc(7)
other("counter", "y", "y_total", (), (), "Help").inc(9)
value.inc(1)
late.inc(1)
print(os.getpid())
"""
    [pid] = counted(script, directory)
    assert values_of(directory / f"counter_{pid}.db") == {
        "n_total": 11.0,
        "x_total": 5.0,
        "late_total": 8.0,
    }
    assert values_of(directory / f"counter_{pid}-1.db") == {"x_total": 1.0, "y_total": 9.0}


def test_a_thread_that_counts_meanwhile(directory: Path) -> None:
    """prometheus_client reads a value from its file in two steps, under a lock of its own."""
    script = """
import threading
multiprom.install()
counter.inc(10)
make_key = values.mmap_key

def count_between(*arguments):
    values.mmap_key = make_key
    thread = threading.Thread(target=counter.inc, args=[100])
    thread.start()
    thread.join()
    return make_key(*arguments)

values.mmap_key = count_between
multiprom.uninstall()
assert values.mmap_key is make_key
counter.inc(1000)
print(total())
"""
    assert counted(script, directory) == ["[1111.0]"]


def test_in_the_child_of_a_fork(directory: Path) -> None:
    """It opens files of its own, and none of its parent's."""
    script = """
import os, sys
from prometheus_client import Counter, Gauge
import multiprom
from support.scripts import finish
counter, gauge = Counter("n", "Help"), Gauge("g", "Help")
counter.inc(5)
gauge.set(5)
multiprom.install()
if os.fork() == 0:
    counter.inc(1)
    gauge.set(7)
    for name in [name for name in os.listdir(sys.argv[1]) if name[0] != "."]:
        if name.endswith(f"_{os.getppid()}.db"):
            os.unlink(os.path.join(sys.argv[1], name))
    multiprom.uninstall()
    counter.inc(1)
    print(os.getpid(), counter._value.get(), gauge._value.get())
    finish()
os.wait()
finish()
"""
    printed = run(script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
    child, *got = printed.split()
    assert got == ["2.0", "7.0"]
    files = {file.name: values_of(file) for file in directory.glob("*.db")}
    assert files == {f"counter_{child}.db": {"n_total": 2.0}, f"gauge_all_{child}.db": {"g": 7.0}}
