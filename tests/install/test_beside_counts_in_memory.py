"""install() while other threads are in the midst of prometheus_client's code that counts in memory.

It reads what a value holds, and stores the sum: what was read before the value moved must not be
counted once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import sys, threading
from fractions import Fraction
from support.suspended import Amount, Stop, beside
from prometheus_client import Counter, Gauge, Histogram
import multiprom
directory = sys.argv[1]
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5)
gauge.set(5)
value, level = counter._value, gauge._value
stop = Stop()

def install():
    multiprom.install(directory)

def total():
    collector = multiprom.MultiProcessCollector(None)
    found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
    return found["n_total"], found["g"]
"""


def test_a_count_under_way(directory: Path) -> None:
    script = """
thread = stop.start(value.inc, Amount(1, stop.come_by))
beside(stop, thread, value, install)
stop = Stop()
print(value.get(), total())
"""
    assert run(COUNTED + script, directory) == "6.0 (6.0, 5.0)\n"


def test_one_that_does_not_end(directory: Path) -> None:
    """install() does not wait for it for ever, and what it counts at last counts once."""
    script = """
thread = stop.start(value.inc, Amount(1, stop.come_by))
install()
counter.inc(10)
stop.let_go_on()
thread.join()
print(value.get(), total())
"""
    assert run(COUNTED + script, directory) == "16.0 (16.0, 5.0)\n"


def test_a_signal_handler_installs(directory: Path) -> None:
    """It has interrupted a count of its own thread, which goes on only after it."""
    script = """
value.inc(Amount(1, install))
level.inc(1)
print(value.get(), total())
"""
    assert run(COUNTED + script, directory) == "6.0 (6.0, 6.0)\n"


def test_a_count_that_begins_before_and_gets_the_lock_after(directory: Path) -> None:
    script = """
increase, change, look = value.inc, level.inc, value.get
install()
counter.inc(10)
gauge.inc(10)
increase(1)
increase(Fraction(1, 2))
increase(Amount(1, lambda: counter.inc(100)))
change(Amount(1, lambda: gauge.inc(100)))
print(look(), look() + 1, value.get(), level.get(), total())
"""
    assert run(COUNTED + script, directory) == "117.5 118.5 117.5 116.0 (117.5, 116.0)\n"


def test_what_is_counted_while_it_waits(directory: Path) -> None:
    """A thread that counts then does not wait, and finds what it has counted."""
    script = """
thread = stop.start(level.inc, Amount(1, stop.come_by))
installing = threading.Thread(target=install)
installing.start()
while "inc" not in vars(level):
    pass
gauge.set(2)
gauge.inc(1)
got = level.get()
stop.let_go_on()
thread.join()
installing.join()
print(got, level.get(), total())
"""
    assert run(COUNTED + script, directory) == "3.0 3.0 (5.0, 3.0)\n"


def test_a_child_that_is_just_being_made(directory: Path) -> None:
    """Its thread has looked up the class that counts in memory already."""
    script = """
from prometheus_client import values
labelled = Counter("l", "Help", ["label"])
stock = values.MutexValue

class Suspended(stock):
    def __init__(self, *arguments, **keywords):
        stop.come_by()
        super().__init__(*arguments, **keywords)

values.ValueClass = Suspended
thread = stop.start(lambda: labelled.labels("x").inc(3))
values.ValueClass = stock
installing = threading.Thread(target=install)
installing.start()
while values.ValueClass is stock:
    pass
stop.let_go_on()
thread.join()
installing.join()
labelled.labels("x").inc(1)
collector = multiprom.MultiProcessCollector(None)
print([s.value for m in collector.collect() for s in m.samples if s.labels])
"""
    assert run(COUNTED + script, directory) == "[4.0]\n"


def test_two_threads_install(directory: Path) -> None:
    script = """
thread = stop.start(value.inc, Amount(1, stop.come_by))
second = threading.Thread(target=install)

def both():
    second.start()
    install()

beside(stop, thread, value, both)
second.join()
counter.inc(10)
print(value.get(), total())
"""
    assert run(COUNTED + script, directory) == "16.0 (16.0, 5.0)\n"


def test_a_gauge_that_is_set_to_what_another_one_has(directory: Path) -> None:
    """By methods that were looked up before: that is no count of its own."""
    script = """
other = Gauge("o", "Help", multiprocess_mode="sum")
other.set(1)
look, put = level.get, other._value.set
install()
put(look() + 2)
print(level.get(), other._value.get())
level.set(level.get() + 1)
print(level.get())
"""
    assert run(COUNTED + script, directory) == "5.0 7.0\n6.0\n"
