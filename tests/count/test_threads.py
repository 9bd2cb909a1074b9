"""Threads that count at once lose nothing, whatever else happens to the files meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.files import is_held, values_of
from support.interpreters import command, environment, run

if TYPE_CHECKING:
    from pathlib import Path


COUNTING = """
import os, sys, threading
# Switch wherever it can be done.
sys.setswitchinterval(1e-6)
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client import values

counter = Counter("n", "Help", registry=None)
gauge = Gauge("g", "Help", registry=None, multiprocess_mode="sum")
histogram = Histogram("took", "Help", registry=None, buckets=[1, 2])
failures = []

def together(*functions):
    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(repr(error))
    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
"""


def test_six_threads_count_fifty_thousand_times(directory: Path) -> None:
    script = """
def count():
    for _ in range(50_000):
        counter.inc()

together(*[count] * 6)
print(counter._value.get())
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == "300000.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 300_000.0}


def test_while_files_grow_and_are_scraped(directory: Path) -> None:
    script = """
done = threading.Event()

def count():
    for number in range(20_000):
        counter.inc()
        gauge.inc(0.5)
        gauge.dec(0.25)
        histogram.observe(number % 3)

def make():
    for number in range(3000):
        value = values.ValueClass("counter", "m", "m", ["l"], ["x" * 300 + str(number)], "Help")
        value.inc(1)

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    before = 0
    while not done.is_set():
        found = {s.name: s.value for m in collector.collect() for s in m.samples}
        assert found["n_total"] >= before
        before = found["n_total"]

scraper = threading.Thread(target=scrape)
scraper.start()
together(count, count, count, make, make)
done.set()
scraper.join()
print(counter._value.get(), gauge._value.get(), histogram._sum.get())
print([bucket.get() for bucket in histogram._buckets])
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "60000.0 15000.0 59997.0",
        "[40002.0, 19998.0, 0.0]",
    ]
    for pattern, expected in (
        ("counter_*.db", {"n_total": 60_000.0}),
        ("gauge_*.db", {"g": 15_000.0}),
        ("histogram_*.db", {"took_sum": 59_997.0, "took_bucket 1.0": 40_002.0}),
    ):
        [file] = directory.glob(pattern)
        found = values_of(file)
        assert {name: found[name] for name in expected} == expected
        series = [value for name, value in found.items() if name.startswith("m ")]
        # Both threads made the same ones.
        assert series == [2.0] * (3000 if pattern.startswith("counter") else 0)


def test_while_files_are_closed(directory: Path) -> None:
    """Nothing is counted twice, and nothing falls between two files."""
    script = """
def count():
    for _ in range(20_000):
        counter.inc()

def close():
    for _ in range(200):
        values.ValueClass.close_all_files()

together(count, count, count, close)
counter.inc(0)
print(counter._value.get())
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == "60000.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 60_000.0}


def test_first_use_in_many_threads(directory: Path) -> None:
    """All make the same series at once: one file, one entry."""
    script = """
made = multiprom.MultiProcessValue()
barrier = threading.Barrier(20)

def count():
    barrier.wait()
    for number in range(20):
        made("counter", "m", "m", ["l"], [str(number)], "Help").inc(1)

together(*[count] * 20)
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == ""
    [file] = directory.glob("counter_*.db")
    found = values_of(file)
    assert {name: value for name, value in found.items() if name.startswith("m ")} == {
        f"m {number}": 20.0 for number in range(20)
    }
    assert file.read_bytes().count(b'"m", {"l"') == 20


# A child holds no lock: neither that of a file of its parent, nor one of a thread that it lacks.
#
# The lock of a file says that its process lives. A lock that a child inherited would keep the files
# of a dead parent from being continued, or folded into an archive, for as long as the child lives.
# A lock of memory that a thread of the parent held would be held in the child for ever.

# The parent prints two pids and waits to be killed; its child waits for the end of stdin.
FAMILY = """
import os, sys, time
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="livesum")
counter.inc(5)
gauge.set(5)
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    {action}
    os.write(tell, b".")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
print(os.getpid(), child, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(
    "action",
    ["counter.inc()", "counter._value.get()", "Gauge('new', '', multiprocess_mode='max')", "pass"],
)
def test_the_lock_goes_with_the_parent(action: str, directory: Path) -> None:
    with subprocess.Popen(
        command(FAMILY.format(action=action)),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, child = map(int, parent.stdout.readline().split())
        assert pid == parent.pid
        files = [directory / f"{kind}_{pid}.db" for kind in ("counter", "gauge_livesum")]
        assert [is_held(file) for file in files] == [True, True]
        parent.kill()
        # Not wait(), which lets go of stdin, and so of the child.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert [is_held(file) for file in files] == [False, False]
        # It lives, and holds what is its own.
        os.kill(child, 0)
        own = {file.name for file in directory.glob("*.db") if is_held(file)}
        assert all(name.endswith(f"_{child}.db") for name in own)
        assert (own == set()) == (action == "pass")
    assert parent.returncode == -signal.SIGKILL


def test_the_parent_keeps_its_lock_when_a_child_has_ended(directory: Path) -> None:
    """To unlock, and not to close, would take the lock from both."""
    printed = run(
        """
        import fcntl, os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values
        counter = Counter("n", "Help")
        counter.inc(5)
        for action in (counter.inc, values.ValueClass.close_all_files, lambda: None):
            if os.fork() == 0:
                action()
                os._exit(0)
            assert os.wait()[1] == 0
            file = os.open(f"{os.environ['PROMETHEUS_MULTIPROC_DIR']}/counter_{os.getpid()}.db",
                           os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("held")
            os.close(file)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "held\n" * 3


def test_no_descriptor_of_the_parents_files(directory: Path) -> None:
    printed = run(
        """
        import os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Summary
        counter = Counter("n", "Help")
        summary = Summary("s", "Help")
        counter.inc(5)
        directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]

        def open_files():
            links = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink(f"/proc/self/fd/{name}"))
                except OSError:
                    pass
            return sorted(os.path.basename(link) for link in links
                          if directory in link and link.endswith(".db"))

        parent = os.getpid()
        if os.fork() == 0:
            print(open_files(), flush=True)
            counter.inc(1)
            pid = os.getpid()
            print(open_files() == [f"counter_{pid}.db", f"summary_{pid}.db"], flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
        print(open_files() == [f"counter_{parent}.db", f"summary_{parent}.db"])
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed.splitlines() == ["[]", "True", "True"]


FORKING = """
import os, signal, sys, threading, time
sys.setswitchinterval(1e-5)
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client import values

counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="sum")
histogram = Histogram("took", "Help", buckets=[1])
forked = Counter("forked", "Help")
done = threading.Event()
counted = [0, 0, 0]

def make(name, label):
    # Not by labels(): its lock is prometheus_client's.
    values.ValueClass("counter", name, name, ["l"], [label], "Help").inc(1)

def count(index):
    while not done.is_set():
        counter.inc()
        gauge.inc(2)
        gauge.dec()
        histogram.observe(0.5)
        if counted[index] < 3000:
            make(f"thread{index}", "x" * 200 + str(counted[index]))
        counted[index] += 1

threads = [threading.Thread(target=count, args=(index,)) for index in range(3)]
for thread in threads:
    thread.start()

def wait_for(child):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"

def child():
    forked.inc()
    histogram.observe(2)
    make("child", str(os.getpid()))
    CLEANUP
    gauge.inc()

outcomes = []
for number in range(60):
    pid = os.fork()
    if pid == 0:
        try:
            child()
            os._exit(0)
        finally:
            os._exit(1)
    outcomes.append((pid, wait_for(pid)))
done.set()
for thread in threads:
    thread.join()
print({status for pid, status in outcomes})
print(counter._value.get() == sum(counted), gauge._value.get() == sum(counted), sum(counted))
print(os.getpid(), *[pid for pid, status in outcomes])
"""


@pytest.mark.parametrize("cleanup", ["pass", "values.ValueClass.close_all_files()"])
def test_sixty_forks_while_three_threads_count(cleanup: str, directory: Path) -> None:
    script = FORKING.replace("CLEANUP", cleanup)
    printed = run(script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines()
    assert printed[0] == "{0}"
    assert printed[1].startswith("True True ")
    counted = float(printed[1].split()[-1])
    parent, *children = printed[2].split()
    found = values_of(directory / f"counter_{parent}.db")
    assert found["n_total"] == counted
    assert found["forked_total"] == 0.0
    assert set(values_of(directory / f"histogram_{parent}.db").values()) == {
        counted,
        counted / 2,
        0.0,
    }
    assert len(set(children)) == 60
    for child in children:
        found = values_of(directory / f"counter_{child}.db")
        assert found.pop("forked_total") == 1.0
        assert found.pop(f"child {child}") == 1.0
        # Whatever the threads of the parent were at.
        assert set(found.values()) == {0.0}
        assert values_of(directory / f"gauge_sum_{child}.db") == {"g": 1.0}
        assert values_of(directory / f"histogram_{child}.db") == {
            "took_sum": 2.0,
            "took_bucket 1.0": 0.0,
            "took_bucket +Inf": 1.0,
        }
