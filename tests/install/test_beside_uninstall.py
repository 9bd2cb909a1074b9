"""uninstall() while other threads count: what they count is not lost on the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, sys, threading
from prometheus_client import Counter, Gauge, values
import multiprom
from support.scripts import finish, scrape
directory = sys.argv[1]
counters = [Counter(f"n{number}", "Help") for number in range(3)]
gauge = Gauge("g", "Help", multiprocess_mode="sum")
held = [counter._value for counter in counters]

def count():
    for counter in counters:
        counter.inc()
    for value in held:
        value.inc(1)
    gauge.inc()

"""


def test_whenever_a_thread_counts_while_values_are_read(directory: Path) -> None:
    script = """
multiprom.install(directory)
shared = values.ValueClass
get = shared.get
counts = 0

def counting_get(self):
    global counts
    found = get(self)
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    counts += 1
    return found

shared.get = counting_get
multiprom.uninstall()
shared.get = get
assert counts >= 4
expected = [2.0 * counts] * 3
print([value.get() for value in held] == expected, gauge._value.get() == counts)
print([counter._value.get() for counter in counters] == expected)
"""
    assert run(COUNTED + script, directory) == "True True\nTrue\n"


def test_a_thread_that_had_the_method_in_hand(directory: Path) -> None:
    """It counts in the shared value after that was read for the last time but one."""
    script = """
multiprom.install(directory)
increase, put = counters[0]._value.inc, gauge._value.set
hand_back = values.MutexValue.inc
is_first = True
shared = values.ValueClass
get = shared.get
count()
seen = []

def late(self):
    found = get(self)
    if self not in seen:
        seen.append(self)
        if len(seen) == 4:
            increase(100)
            put(7)
    return found

shared.get = late
multiprom.uninstall()
shared.get = get
print([value.get() for value in held], gauge._value.get())
"""
    assert run(COUNTED + script, directory) == "[102.0, 2.0, 2.0] 7.0\n"


def test_back_to_the_files_of_prometheus_client(directory: Path) -> None:
    script = """
multiprom.install()
count()
make_key = values.mmap_key
counts = 1

def counting_key(*arguments):
    global counts
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    counts += 1
    return make_key(*arguments)

values.mmap_key = counting_key
multiprom.uninstall()
values.mmap_key = make_key
assert counts >= 4
print([value.get() for value in held] == [2.0 * counts] * 3, gauge._value.get() == counts)
found = scrape()
print([found[f"n{number}_total"] for number in range(3)] == [2.0 * counts] * 3)
names = sorted(name for name in os.listdir(directory) if name[0] != ".")
print(names == [f"counter_{os.getpid()}.db", f"gauge_sum_{os.getpid()}.db"])
finish()
"""
    printed = run(COUNTED + script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "True True\nTrue\nTrue\n"


def test_a_thread_that_had_a_method_of_prometheus_client_in_hand(directory: Path) -> None:
    """It waits for the lock, as it would without multiprom, and counts in the value."""
    script = """
increase = held[0].inc
failures = []
threading.excepthook = lambda arguments: failures.append(arguments.exc_value)
multiprom.install()
increase(1)
make_key = values.mmap_key
threads = []

def counting_key(*arguments):
    threads.append(threading.Thread(target=increase, args=[1]))
    threads[-1].start()
    return make_key(*arguments)

values.mmap_key = counting_key
multiprom.uninstall()
values.mmap_key = make_key
for thread in threads:
    thread.join()
print(failures, held[0].get() - len(threads), len(threads) >= 4)
finish()
"""
    printed = run(COUNTED + script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "[] 1.0 True\n"


@pytest.mark.parametrize("is_stock", [False, True], ids=["in memory", "in files"])
def test_a_series_made_meanwhile(is_stock: bool, directory: Path) -> None:
    """It stays in the shared files, and prometheus_client's code does not add where it is."""
    script = """
from multiprom import observables
labelled = Counter("l", "Help", ["label"])
labelled.labels("a").inc(1)
multiprom.install(directory)
use_old = observables.use_old

def make_one(predecessors):
    labelled.labels("b").inc(5)
    use_old(predecessors)

observables.use_old = make_one
multiprom.uninstall()
labelled.labels("b").inc(2)
labelled.labels("c").inc(3)
collector = multiprom.MultiProcessCollector(None, directory)
found = {s.labels["label"]: s.value for m in collector.collect() for s in m.samples if s.labels}
print(found["b"], labelled.labels("a")._value.get(), found.get("c"))
finish()
"""
    variables: Any = {"PROMETHEUS_MULTIPROC_DIR": directory} if is_stock else {}
    printed = run(COUNTED + script, directory, **variables)
    assert printed == f"7.0 1.0 {3.0 if is_stock else None}\n"


def test_files_that_prometheus_client_cannot_open(directory: Path) -> None:
    """The values count where they did, which is beside what was handed over."""
    script = """
multiprom.install()
count()
open_file = values.MmapedDict

def refuse(*arguments):
    raise PermissionError

values.MmapedDict = refuse
try:
    multiprom.uninstall()
except PermissionError:
    print("refused")
values.MmapedDict = open_file
count()
found = scrape()
print([found[f"n{number}_total"] for number in range(3)], found["g"])
finish()
"""
    printed = run(COUNTED + script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "refused\n[4.0, 4.0, 4.0] 2.0\n"


def test_again_and_again_while_threads_count(directory: Path) -> None:
    script = """
from support.counting_threads import CountingThreads
multiprom.install(directory)
threads = CountingThreads(count)
for _ in range(10):
    multiprom.uninstall()
    threads.wait_for(20)
    multiprom.install(directory)
multiprom.uninstall()
total = threads.stop()
print([value.get() - 2 * total for value in held], gauge._value.get() - total)
"""
    assert run(COUNTED + script, directory) == "[0.0, 0.0, 0.0] 0.0\n"
