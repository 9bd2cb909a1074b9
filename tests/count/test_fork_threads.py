"""A fork while other threads count: neither the parent nor the child waits for anything.

In the child those threads are gone, and a lock that one of them held is held for ever (faults 13:
431).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

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
