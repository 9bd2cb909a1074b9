"""What counting costs: no system call, and no memory for values that the application dropped.

prometheus_client keeps every value that was ever made, for the next fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = """
import os, re, sys
import multiprom
multiprom.install()
from prometheus_client import Counter, values

counter = Counter("n", "Help", ["label"])

def private_bytes():
    with open("/proc/self/status") as status:
        return int(re.search(r"RssAnon:\\s+(\\d+) kB", status.read())[1]) * 1024

def grown_by(function, times):
    # Long enough for pools and buffers to have found their size.
    for number in range(20_000):
        function(number)
    before = private_bytes()
    for number in range(20_000, 20_000 + times):
        function(number)
    return private_bytes() - before
"""

MEBIBYTE = 1 << 20


def test_the_same_children_again_and_again(directory: Path) -> None:
    script = """
def one(number):
    label = str(number % 1000)
    counter.labels(label).inc()
    counter.remove(label)

print(grown_by(one, 200_000))
"""
    printed = run(MEASURED + script, PROMETHEUS_MULTIPROC_DIR=directory, seconds=110)
    assert int(printed) < MEBIBYTE
    [file] = directory.glob("*.db")
    # What prometheus_client sees of series that were withdrawn.
    assert values_of(file) == {f"n_total {number}": 0.0 for number in range(1000)}


def test_children_of_ever_new_labels(directory: Path) -> None:
    """The file is written anew without them, now and then."""
    script = """
def one(number):
    label = "a-label-value-of-some-length-" + str(number)
    counter.labels(label).inc()
    counter.remove(label)

print(grown_by(one, 200_000))
"""
    printed = run(MEASURED + script, PROMETHEUS_MULTIPROC_DIR=directory, seconds=110)
    assert int(printed) < MEBIBYTE
    [file] = directory.glob("*.db")
    assert file.stat().st_size <= MEBIBYTE
    assert set(values_of(file).values()) == {0.0}


def test_values_and_classes_in_cycles(directory: Path) -> None:
    """A metric that is made for each task, in whatever the garbage collector has to find."""
    script = """
import gc

class Task:
    def __init__(self, number):
        self.cycle = self
        self.counter = Counter("task", "Help", ["kind"], registry=None)
        self.counter.labels(str(number % 10)).inc()

# The first time on is when the collector finds its pace.
grown_by(Task, 10_000)
print(grown_by(Task, 30_000))
"""
    printed = run(MEASURED + script, PROMETHEUS_MULTIPROC_DIR=directory, seconds=110)
    assert int(printed) < 2 * MEBIBYTE
    [file] = directory.glob("*.db")
    assert sum(values_of(file).values()) == 80_000


def test_an_identifier_that_refers_to_its_class(directory: Path) -> None:
    """The garbage collector sees through what Rust holds."""
    script = """
import gc, weakref

class Application:
    def __init__(self):
        self.value_class = multiprom.MultiProcessValue(self.identify)
        self.value = self.value_class("counter", "m", "m", (), (), "Help")

    def identify(self):
        return "w"

gone = weakref.ref(Application())
# prometheus_client 0.26 keeps the classes whose files it has not closed.
getattr(values, "close_all_multiprocess_files", bool)()
gc.collect()
print(gone())
"""
    printed = run(MEASURED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "None\n"


@pytest.mark.parametrize("place", ["a file", "none"])
def test_with_and_without_a_file(place: str, directory: Path) -> None:
    """Without one, what each series has counted must be kept, but not each value of it."""
    script = """
made = multiprom.MultiProcessValue()

def one(number):
    made("counter", "m", "m", ["label"], [str(number % 100)], "Help").inc(1)

print(grown_by(one, 300_000))
"""
    logging_off = "import logging; logging.disable()\n"
    named = directory if place == "a file" else "/proc/nowhere"
    printed = run(logging_off + MEASURED + script, PROMETHEUS_MULTIPROC_DIR=named, seconds=110)
    assert int(printed) < MEBIBYTE


COUNT = {
    "Counter.inc": 'Counter("n", "Help").inc',
    "Gauge.set": 'functools.partial(Gauge("n", "Help", multiprocess_mode="sum").set, 5)',
    "Histogram.observe": 'functools.partial(Histogram("n", "Help").observe, 0.3)',
    "Summary.observe": 'functools.partial(Summary("n", "Help").observe, 0.3)',
    "a value's get": 'Counter("n", "Help")._value.get',
    # That the kernel looks.
    "os.getppid": "os.getppid",
}


@pytest.mark.parametrize("call", COUNT)
def test_of(call: str, directory: Path) -> None:
    printed = run(
        f"""
        import ctypes, functools, os, signal
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Gauge, Histogram, Summary

        PR_SET_SECCOMP, STRICT = 22, 1
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            count = {COUNT[call]}
            for _ in range(10_000):
                count()
            # From here on only read, write and the end of a thread are allowed.
            assert prctl(PR_SET_SECCOMP, STRICT) == 0, os.strerror(ctypes.get_errno())
            for _ in range(10_000):
                count()
            os.write(writing, b"counted")
            os._exit(0)
        os.close(writing)
        reported = os.read(reading, 100).decode()
        # Ending the process is not allowed either.
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        print(reported)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed.strip() == ("" if call == "os.getppid" else "counted")
