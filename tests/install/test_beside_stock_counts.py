"""install() while other threads are in the midst of prometheus_client's code that counts in files.

Its code writes what a value comes to, not what is added: whoever is still in there must have left
before anybody else counts in the file, and before it is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, sys, threading
from support.suspended import Amount, Stop, beside
from prometheus_client import Counter, Gauge, mmap_dict, values
import multiprom
from support.scripts import finish, scrape
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help", ["label"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
child = counter.labels("a")
child.inc(5)
gauge.set(5)
value, level = child._value, gauge._value
stop = Stop()

def at_write_value(act):
    write = mmap_dict.MmapedDict.write_value

    def write_value(self, *arguments):
        act()
        return write(self, *arguments)

    mmap_dict.MmapedDict.write_value = write_value

def total():
    found = scrape()
    return found["n_total"], found["g"]
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
print(value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "31.0 31.0\n"


@pytest.mark.parametrize("held", ["value", "level"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_one_that_does_not_end(place: str, held: str, directory: Path) -> None:
    """install() does not wait for it for ever, and what it counts at last is not lost."""
    script = f"""
{place.format(held=held)}
multiprom.install()
stop.let_go_on()
thread.join()
print(value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "11.0 11.0\n"


def test_one_that_ends_after_others_have_counted(directory: Path) -> None:
    script = """
at_write_value(stop.come_by)
thread = stop.start(value.inc, 1)
multiprom.install()
child.inc(10)
stop.let_go_on()
thread.join()
print(value.get(), total())
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "16.0 (16.0, 5.0)\n"


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
print(value.get() + level.get(), sum(total()))
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "11.0 11.0\n"


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
print(got, value.get(), level.get(), total())
finish()
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "[15.0, 3.0] 16.0 3.0 (16.0, 3.0)\n"


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


def test_a_value_that_is_just_being_made(directory: Path) -> None:
    """It has added to the file when install() comes to it, and counts before that is done."""
    script = """
stock, make_key = values.ValueClass, values.mmap_key

def suspended_key(*arguments):
    if arguments[0] == "l":
        stop.come_by()
    return make_key(*arguments)

def make():
    late = stock("counter", "l", "l_total", [], [], "Help")
    late.inc(7)

values.mmap_key = suspended_key
thread = stop.start(make)
beside(stop, thread, value, multiprom.install)
counter.labels("b").inc(1)
finish()
"""
    run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total a": 5.0, "l_total": 7.0, "n_total b": 1.0}


@pytest.mark.parametrize("size", [1, 2 << 20], ids=["that fits", "the file has to grow for"])
def test_a_value_that_takes_too_long_to_be_made(size: int, directory: Path) -> None:
    """install() does not wait for it, and so leaves it in memory; another one moves it."""
    script = f"""
from multiprom import move
move.SECONDS = 0.2
stock, make_key = values.ValueClass, values.mmap_key
made = []

def suspended_key(*arguments):
    if arguments[0] == "l":
        stop.come_by()
    return make_key(*arguments)

def make():
    made.append(stock("counter", "l", "l_total", [], [], "H" * {size}))
    made[0].inc(7)

values.mmap_key = suspended_key
thread = stop.start(make)
multiprom.install()
stop.let_go_on()
thread.join()
counter.labels("b").inc(1)
made[0].inc(1)
print(made[0].get())
multiprom.install()
made[0].inc(1)
print(made[0].get(), total())
finish()
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "8.0\n9.0 (1.0, 5.0)\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total a": 5.0, "n_total b": 1.0, "l_total": 9.0}


def test_values_of_the_class_of_before(directory: Path) -> None:
    """Whoever has kept it makes values that count with the others, and go back with them."""
    script = """
stock = values.ValueClass
multiprom.install()
counter.labels("b").inc(1)
kept = stock("counter", "l", "l_total", [], [], "Help")
kept.inc(7)
level = stock("gauge", "m", "m", [], [], "Help", multiprocess_mode="mostrecent")
level.set(3, 1234.5)
counter.labels("c").inc(2)
found = [kept.get(), level.get()]
multiprom.uninstall()
kept.inc(1)
print(found, kept.get(), level.get(), stock("counter", "l", "l_total", [], [], "Help").get())
finish()
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "[7.0, 3.0] 8.0 3.0 8.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {
        "n_total a": 5.0,
        "n_total b": 1.0,
        "l_total": 8.0,
        "n_total c": 2.0,
    }


def test_one_that_cannot_move(directory: Path) -> None:
    """It counts in memory, with a warning, and keeps no other from moving."""
    script = """
from support.warned import messages
refused, last = Counter("refused", "Help"), Counter("z", "Help")
refused.inc(2)
last.inc(3)
make_key = values.mmap_key

def refuse(*arguments):
    if arguments[0] == "refused":
        raise ValueError("unheard of")
    return make_key(*arguments)

values.mmap_key = refuse
multiprom.install()
refused.inc(1)
last.inc(1)
print(refused._value.get(), last._value.get(), last._value._multiprocess, total())
print(*messages)
finish()
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == (
        "3.0 4.0 True (5.0, 5.0)\n"
        "could not move a series of 'refused_total', which counts in memory: "
        "ValueError('unheard of')\n"
    )


def test_threads_that_count_meanwhile(directory: Path) -> None:
    script = """
from support.counting_threads import CountingThreads

def count():
    child.inc()
    value.inc(1)
    gauge.inc()
    level.inc(1)

threads = CountingThreads(count)
threads.wait_for(1000)
multiprom.install()
threads.wait_for(1000)
expected = 5.0 + 2 * threads.stop()
print(value.get() - expected, level.get() - expected, [n - expected for n in total()])
finish()
"""
    for _ in range(5):
        for file in directory.glob("*.db"):
            file.unlink()
        printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
        assert printed == "0.0 0.0 [0.0, 0.0]\n"


def test_an_identifier_that_fails_at_first(directory: Path) -> None:
    """install() raises what it raises, and leaves values as they are, for another one."""
    script = """
fails = False

def identifier():
    if fails:
        raise OSError("unknown")
    return "w"

values.ValueClass = values.MultiProcessValue(identifier)
own = Counter("own", "Help")
own.inc(1)
lock_of_stock = move.alone

@contextlib.contextmanager
def counting_meanwhile(lock):
    with lock_of_stock(lock) as is_alone:
        own.inc(10)
        yield is_alone

move_class = moving.move_class

def failing_move(*classes):
    global fails
    fails = True
    try:
        move_class(*classes)
    finally:
        fails = False

moving.alone, moving.move_class = counting_meanwhile, failing_move
try:
    multiprom.install()
except OSError as error:
    print(error)
moving.move_class = move_class
own.inc(100)
multiprom.install()
own.inc(1000)
print(own._value.get(), scrape()["own_total"])
finish()
"""
    start = COUNTED + "import contextlib\nfrom multiprom import move, moving\n"
    printed = run(start + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "unknown\n1111.0 1111.0\n"


def test_an_identifier_that_fails_meanwhile(directory: Path) -> None:
    """What was counted meanwhile waits until it does not, and other values do not wait for it."""
    script = """
import time
from support.warned import messages
fails = False

def identifier():
    if fails:
        raise OSError("unknown")
    return "w"

values.ValueClass = values.MultiProcessValue(identifier)
counters = [Counter(f"c{number}", "Help") for number in range(3)]
for number, each in enumerate(counters):
    each.inc(1)
thread = stop.start(counters[0]._value.inc, Amount(1, stop.come_by))

def fail():
    global fails
    while "inc" not in vars(last):
        time.sleep(0.001)
    for each in counters:
        each.inc(10)
    stop.let_go_on()
    thread.join()
    # As soon as all have moved.
    while type(last) is old_class:
        pass
    fails = True

last = counters[-1]._value
old_class = type(last)
failing = threading.Thread(target=fail)
failing.start()
multiprom.install()
failing.join()
fails = False
for each in counters:
    each.inc(100)
multiprom.install()
print([each._value.get() for each in counters], len(messages) <= 1)
print(sorted(value for name, value in scrape().items() if name.startswith("c")))
finish()
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "[112.0, 111.0, 111.0] True\n[111.0, 111.0, 112.0]\n"
