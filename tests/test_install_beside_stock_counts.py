"""install() while other threads are in the midst of prometheus_client's code that counts in files.

Its code writes what a value comes to, not what is added: whoever is still in there must have left
before anybody else counts in the file, and before it is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from files import values_of
from interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, sys, threading
from suspended import Amount, Stop, beside
from prometheus_client import Counter, Gauge, mmap_dict, values
import multiprom
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help", ["label"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
child = counter.labels("a")
child.inc(5)
gauge.set(5)
value, level = child._value, gauge._value
stop = Stop()
failures = []
threading.excepthook = lambda arguments: failures.append(arguments.exc_value)

def at_write_value(act):
    write = mmap_dict.MmapedDict.write_value

    def write_value(self, *arguments):
        act()
        return write(self, *arguments)

    mmap_dict.MmapedDict.write_value = write_value

def total():
    collector = multiprom.MultiProcessCollector(None)
    found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
    return found["n_total"], found["g"]

def finish():
    sys.stdout.flush()
    # Where something of prometheus_client's is left open, that is no concern here.
    os._exit(0)
"""

# Where the count of 1 is suspended, by what follows.
PLACES = {
    "reading and storing": "thread = stop.start({held}.inc, Amount(1, stop.come_by))",
    "storing and writing": "at_write_value(stop.come_by); thread = stop.start({held}.inc, 1)",
}


@pytest.mark.parametrize("held", ["value", "level"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_count_under_way(place: str, held: str, directory: Path) -> None:
    script = f"""
{place.format(held=held)}
beside(stop, thread, {held}, multiprom.install)
child.inc(10)
gauge.inc(10)
print(failures, value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] 31.0 31.0\n"


@pytest.mark.parametrize("held", ["value", "level"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_one_that_does_not_end(place: str, held: str, directory: Path) -> None:
    """install() does not wait for it for ever, and what it counts at last is not lost."""
    script = f"""
{place.format(held=held)}
multiprom.install()
stop.let_go_on()
thread.join()
print(failures, value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] 11.0 11.0\n"


def test_one_that_ends_after_others_have_counted(directory: Path) -> None:
    script = """
at_write_value(stop.come_by)
thread = stop.start(value.inc, 1)
multiprom.install()
child.inc(10)
stop.let_go_on()
thread.join()
print(failures, value.get(), total())
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] 16.0 (16.0, 5.0)\n"


@pytest.mark.parametrize("held", ["value", "level"])
@pytest.mark.parametrize(
    "call", ["{held}.inc(Amount(1, act))", "at_write_value(act); {held}.inc(1)"]
)
def test_a_signal_handler_installs(call: str, held: str, directory: Path) -> None:
    """It has interrupted a count of its own thread, which goes on only after it."""
    script = f"""
def act():
    multiprom.install()

{call.format(held=held)}
print(failures, value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] 11.0 11.0\n"


def test_what_is_counted_while_it_waits(directory: Path) -> None:
    """A thread that counts then does not wait, and finds what it has counted."""
    script = """
thread = stop.start(value.inc, Amount(1, stop.come_by))
got = []

def count():
    child.inc(10)
    got.append(child._value.get())
    gauge.set(2)
    gauge.inc(1)
    got.append(gauge._value.get())
    stop.let_go_on()

installing = threading.Thread(target=multiprom.install)
installing.start()
while "inc" not in vars(level):
    pass
count()
thread.join()
installing.join()
print(failures, got, value.get(), level.get(), total())
finish()
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "[] [15.0, 3.0] 16.0 3.0 (16.0, 3.0)\n"


def test_a_count_that_begins_before_and_gets_the_lock_after(directory: Path) -> None:
    script = """
increase, put, look = value.inc, level.set, value.get
multiprom.install()
child.inc(10)
gauge.inc(10)
increase(1)
increase(Amount(1, lambda: child.inc(100)))
put(3)
print(look(), value.get(), level.get(), total())
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == (
        "117.0 117.0 3.0 (117.0, 3.0)\n"
    )


def test_a_value_made_meanwhile(directory: Path) -> None:
    """Its thread had prometheus_client's class in hand already."""
    script = """
thread = stop.start(value.inc, Amount(1, stop.come_by))
stock = values.ValueClass
late = []
making = threading.Thread(
    target=lambda: late.append(stock("counter", "l", "l_total", [], [], "Help")))

def make():
    making.start()
    multiprom.install()

beside(stop, thread, value, make)
making.join()
late[0].inc(7)
finish()
"""
    run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total a": 6.0, "l_total": 7.0}


def test_threads_that_count_meanwhile(directory: Path) -> None:
    script = """
import time
sys.setswitchinterval(1e-6)
done = threading.Event()
counted = [0] * 3

def count(index):
    while not done.is_set():
        child.inc()
        value.inc(1)
        gauge.inc()
        level.inc(1)
        counted[index] += 1

threads = [threading.Thread(target=count, args=(index,)) for index in range(3)]
for thread in threads:
    thread.start()
time.sleep(0.05)
multiprom.install()
goal = sum(counted) + 1000
while sum(counted) < goal:
    time.sleep(0.001)
done.set()
for thread in threads:
    thread.join()
expected = 5.0 + 2 * sum(counted)
print(failures, value.get() - expected, level.get() - expected, [n - expected for n in total()])
finish()
"""
    for _ in range(5):
        for file in directory.iterdir():
            file.unlink()
        printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
        assert printed == "[] 0.0 0.0 [0.0, 0.0]\n"
