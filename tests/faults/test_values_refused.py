"""The directory cannot be written to, or is none, or lacks what files need: one warning is logged.

Values count in memory then. prometheus_client raises when a metric is made, which is when a module
is imported.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.folders import let_others_reach
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTING = """
import os, sys, time
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, values
from support import files
from support.scripts import become_nobody
multiprom.MultiProcessCollector, multiprom.generate_latest(CollectorRegistry())

directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")

def count():
    global counter, metrics
    counter = Counter("n", "Help", registry=None)
    metrics = [counter, Counter("l", "Help", ["label"], registry=None).labels("a")]
    metrics += [Gauge(mode, "Help", multiprocess_mode=mode, registry=None)
                for mode in ("all", "livesum", "mostrecent")]
    for metric in metrics[:-1]:
        metric.inc()
        metric.inc(2)
    metrics[-1].set(3)
    histogram = Histogram("h", "Help", registry=None)
    with histogram.time():
        pass
    Summary("s", "Help", registry=None).observe(1)
    print({metric._value.get() for metric in metrics}, len(messages))
"""


@pytest.fixture(autouse=True)
def _reachable(tmp_path: Path) -> None:
    """Let nobody come as far as the directory under test."""
    let_others_reach(tmp_path)


def test_not_writable(directory: Path) -> None:
    directory.chmod(0o555)
    script = """
become_nobody()
count()
print([name for name in os.listdir(directory) if name[0] != "."])
print(directory in messages[0] and "ermission" in messages[0])
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "{3.0} 1",
        "[]",
        "True",
    ]


def test_writable_later(directory: Path) -> None:
    directory.chmod(0o777)
    script = """
os.chmod(directory, 0o555)
pid = os.fork()
if pid == 0:
    become_nobody()
    count()
    sys.stdout.flush()
    os.write(tell, b".")
    os.read(go, 1)
    multiprom.MultiProcessCollector(None).collect()
    os._exit(0)
os.read(ready, 1)
os.chmod(directory, 0o777)
os.write(let_go, b".")
print(os.waitpid(pid, 0)[1])
found = files.values_of(files_of(directory, pid))
print(found["n_total"], found["l_total a"])
"""
    pipes = """
import pathlib
ready, tell = os.pipe()
go, let_go = os.pipe()

def files_of(directory, pid):
    return pathlib.Path(directory, f"counter_{pid}.db")
"""
    printed = run(COUNTING + pipes + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed.splitlines() == ["{3.0} 1", "0", "3.0 3.0"]


def test_a_file_of_another_user(directory: Path) -> None:
    """The name is taken, by a file that may not be opened: one beside it is written."""
    directory.chmod(0o777)
    script = """
made = multiprom.MultiProcessValue(lambda: "w")
theirs = made("counter", "n", "theirs", (), (), "Help")
theirs.inc(5)
made._value_class.end()
os.chmod(f"{directory}/counter_w.db", 0o444)
become_nobody()
mine = multiprom.MultiProcessValue(lambda: "w")("counter", "n", "mine", (), (), "Help")
mine.inc(1)
found = {s.name: s.value for metric in multiprom.MultiProcessCollector(None).collect()
         for s in metric.samples}
print(mine.get(), found["theirs"], len(messages))
"""
    printed = run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "1.0 5.0 1\n"
    assert values_of(directory / "counter_w.db")["theirs"] == 5.0
    assert values_of(directory / "counter_w-1.db") == {"mine": 1.0}


@pytest.mark.parametrize(
    "place",
    [
        # File systems on which no file can be made.
        "/proc",
        "/proc/self/fdinfo",
        "/sys",
        "/sys/kernel",
        # No directory, and none can be made there.
        "/proc/no/such",
        "/dev/null",
        "/dev/null/below",
        "{file}",
        "{file}/below",
        "{loop}",
        "{folder}/" + "x" * 300,
    ],
)
def test_no_place_for_files(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")
    (tmp_path / "loop").symlink_to("loop")
    named = place.format(file=tmp_path / "file", loop=tmp_path / "loop", folder=tmp_path)
    printed = run(COUNTING + "count()", PROMETHEUS_MULTIPROC_DIR=named)
    assert printed == "{3.0} 1\n"
    assert (tmp_path / "file").read_text() == "theirs"


def test_the_variable_is_gone(directory: Path) -> None:
    """In tests that undo their environment, of a class that was made while there was one."""
    script = """
del os.environ["PROMETHEUS_MULTIPROC_DIR"]
made = multiprom.MultiProcessValue(lambda: "w")
value = made("counter", "n", "n", (), (), "Help")
value.inc(3)
print(value.get(), len(messages))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
made("counter", "n", "other", (), (), "Help").inc(1)
print(value.get(), len(messages))
"""
    printed = run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed.splitlines() == ["3.0 1", "3.0 1"]
    assert values_of(directory / "counter_w.db") == {"n": 3.0, "other": 1.0}


def test_a_missing_directory_may_come(directory: Path) -> None:
    """As a volume that is mounted late."""
    script = """
count()
os.makedirs(directory)
multiprom.MultiProcessCollector(None).collect()
print(counter._value.get(), len(messages))
"""
    named = directory / "a" / "b"
    printed = run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=named)
    assert printed == "{3.0} 1\n3.0 1\n"
    [file] = named.glob("counter_*.db")
    assert values_of(file) == {"n_total": 3.0, "l_total a": 3.0}


@pytest.mark.parametrize("kind", ["fifo", "directory", "link to nothing", "link to a device"])
def test_something_else_has_the_name(kind: str, directory: Path) -> None:
    script = """
name = f"{directory}/counter_w.db"
{
    "fifo": lambda: os.mkfifo(name),
    "directory": lambda: os.mkdir(name),
    "link to nothing": lambda: os.symlink("/proc/nowhere/x", name),
    "link to a device": lambda: os.symlink("/dev/full", name),
}[sys.argv[1]]()
made = multiprom.MultiProcessValue(lambda: "w")
value = made("counter", "n", "n", (), (), "Help")
value.inc(3)
print(value.get(), len(messages) <= 1)
os.unlink(name) if not os.path.isdir(name) else os.rmdir(name)
other = made("counter", "n", "other", (), (), "Help")
other.inc(1)
found = {s.name: s.value for metric in multiprom.MultiProcessCollector(None).collect()
         for s in metric.samples}
print(found["n"], found["other"])
"""
    printed = run(COUNTING + script, kind, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed.splitlines() == ["3.0 True", "3.0 1.0"]


def test_no_descriptor_is_left(directory: Path) -> None:
    script = """
from support.scripts import take_all_descriptors
held = take_all_descriptors(32)
counter = Counter("n", "Help", registry=None)
counter.inc(3)
value = counter._value.get()
for descriptor in held:
    os.close(descriptor)
multiprom.MultiProcessCollector(None).collect()
print(value, len(messages))
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == "3.0 1\n"
    [file] = directory.glob("*.db")
    assert values_of(file) == {"n_total": 3.0}


COUNT = """
import mmap, os, sys
from support.refusing_kernel import refuse
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
multiprom.MultiProcessCollector(None).collect()

refuse(sys.argv[1], int(sys.argv[2]))
counter = Counter("n", "Help", registry=None)
counter.inc(2)
Gauge("g", "Help", multiprocess_mode="sum", registry=None).set(3)
Histogram("h", "Help", registry=None).observe(1)
counter.inc()
multiprom.MultiProcessCollector(None).collect()
print(counter._value.get(), len(messages), *messages)
"""


@pytest.mark.parametrize(
    ("call", "code"),
    [("mmap", errno.ENODEV), ("mmap", errno.EPERM), ("flock", errno.ENOLCK)],
)
def test_counts_in_memory(call: str, code: int, directory: Path) -> None:
    printed = run(COUNT, call, str(code), PROMETHEUS_MULTIPROC_DIR=directory)
    value, warnings, message = printed.split(maxsplit=2)
    assert (value, warnings) == ("3.0", "1")
    assert message.startswith(f'cannot write metrics to "{directory}/counter_')
    # prometheus_client could not read an empty one.
    assert list(directory.glob("*.db")) == []


def test_blocks_are_allocated_by_writing_to_them(directory: Path) -> None:
    """As the C library does it, where the file system cannot."""
    code = str(errno.EOPNOTSUPP)
    printed = run(COUNT, "fallocate", code, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "3.0 0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 3.0}
    assert file.stat().st_blocks * 512 == 4096
    assert file.stat().st_size == 1 << 16


def test_a_withdrawal_that_gets_no_number(directory: Path) -> None:
    """What the dead have left stays then; the next withdrawal gets one again."""
    begin = "import multiprom; multiprom.install(); from prometheus_client import Counter;"
    begin += "counter = Counter('n', 'Help', ['x']); children = [counter.labels(x) for x in 'ab'];"
    run(begin, PROMETHEUS_MULTIPROC_DIR=directory)
    script = """
multiprom.compact()
numbers = os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], ".multiprom.withdrawn")
os.mkdir(numbers)
counter.remove("a")
os.rmdir(numbers)
counter.remove("b")
multiprom.compact()
(metric,) = multiprom.MultiProcessCollector(None).collect()
print([sample.labels["x"] for sample in metric.samples])
"""
    found = run(f"{begin}\nimport os\n{script}", PROMETHEUS_MULTIPROC_DIR=directory)
    assert found == "['a']\n"
