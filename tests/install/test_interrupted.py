"""Ctrl-C while install() and uninstall() are at work: nothing is lost, and no thread notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, signal, sys, threading, time
from support.suspended import Amount, Stop
from prometheus_client import Counter, Gauge
import multiprom
from multiprom import move
from support.scripts import finish, scrape
from support.warned import messages
# Also where a shell has started the tests in the background, which ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
move.SECONDS = 0.5
directory = sys.argv[1]
counter, other = Counter("n", "Help"), Counter("o", "Help")
counter.inc(5)
other.inc(7)
values = [counter._value, other._value]
stop = Stop()

def install():
    multiprom.install(directory)

def interrupt(call, value, thread):
    # As soon as the counts of others are kept: it waits for the thread in a count.
    def watch():
        while "inc" not in vars(value):
            time.sleep(0.001)
        value.inc(10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch).start()
    try:
        call()
    except KeyboardInterrupt:
        stop.let_go_on()
    else:
        sys.exit("not interrupted")
    thread.join()

"""


MANY = """
import os, signal, sys
import multiprom
from prometheus_client import Counter
from multiprom.move import Move
from support.scripts import finish, scrape
signal.signal(signal.SIGINT, signal.default_int_handler)
counters = [Counter(f"n{number}", "Help") for number in range(9)]
values = [counter._value for counter in counters]

def count():
    for value in values:
        value.inc(10)

def install():
    multiprom.install(sys.argv[1])

def interrupt_amid(step, call):
    # Before and after the step of the fifth value.
    original = getattr(Move, step)
    times = 0

    def interrupted(move):
        nonlocal times
        times += 1
        if times == 5:
            os.kill(os.getpid(), signal.SIGINT)
        result = original(move)
        if times == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    setattr(Move, step, interrupted)
    try:
        call()
    except KeyboardInterrupt:
        pass
    else:
        sys.exit("not interrupted")
    setattr(Move, step, original)

for value in values:
    value.inc(5)
"""


@pytest.fixture(params=[False, True], ids=["in memory", "in files"])
def variables(request: pytest.FixtureRequest, directory: Path) -> dict[str, Any]:
    """Give the environment in which prometheus_client counts in memory, or in files."""
    return {"PROMETHEUS_MULTIPROC_DIR": directory} if request.param else {}


def test_install(variables: dict[str, Any], directory: Path) -> None:
    script = """
thread = stop.start(values[0].inc, Amount(1, stop.come_by))
interrupt(install, values[0], thread)
counter.inc(100)
print([value.get() for value in values])
install()
counter.inc(1000)
print([value.get() for value in values], [*scrape().values()])
print(counter._value._multiprocess)
finish()
"""
    first, second, third = run(SCRIPT + script, directory, **variables).splitlines()
    assert first == "[116.0, 7.0]"
    assert second == "[1116.0, 7.0] [1116.0, 7.0]"
    assert third == "True"


def test_uninstall(variables: dict[str, Any], directory: Path) -> None:
    """A thread has prometheus_client's lock, so values stay where they are, with a warning."""
    script = """
from multiprom import moving
increase = values[0].inc
install()
counter.inc(10)
thread = stop.start(increase, Amount(1, stop.come_by))
# Until it is replaced: what counts in the shared value.
del vars(values[0])["inc"]
interrupt(multiprom.uninstall, values[0], thread)
counter.inc(100)
print([value.get() for value in values], len(messages))
multiprom.uninstall()
counter.inc(1000)
print([value.get() for value in values], len(moving._moved), len(messages))
print(type(counter._value).__module__, "PROMETHEUS_MULTIPROC_DIR" in os.environ)
finish()
"""
    first, second, third = run(SCRIPT + script, directory, **variables).splitlines()
    assert first == "[126.0, 7.0] 1"
    assert second == "[1126.0, 7.0] 0 1"
    assert third == f"prometheus_client.values {bool(variables)}"


@pytest.mark.parametrize("who", ["another thread", "a signal handler"])
def test_a_count_that_does_not_end(who: str, variables: dict[str, Any], directory: Path) -> None:
    """uninstall() does not wait for it for ever, and leaves the value where it is."""
    script = f"""
increase = values[0].inc
install()
if {who == "another thread"}:
    thread = stop.start(increase, Amount(1, stop.come_by))
    multiprom.uninstall()
    stop.let_go_on()
    thread.join()
else:
    # It has interrupted the count of its own thread.
    increase(Amount(1, multiprom.uninstall))
counter.inc(10)
print([value.get() for value in values], *(message[:39] for message in messages))
multiprom.uninstall()
counter.inc(100)
print(type(counter._value).__module__, [value.get() for value in values], len(messages))
finish()
"""
    first, second = run(SCRIPT + script, directory, **variables).splitlines()
    assert first == "[16.0, 7.0] some values still count in shared files"
    assert second == "prometheus_client.values [116.0, 7.0] 1"


def test_a_signal_handler_does_not_overtake_what_it_interrupts() -> None:
    """What was kept is carried out in order, also where a handler comes in between."""
    script = """
from multiprom.pending import Pending
carried_out = []
calls = 0

def target():
    global calls
    calls += 1
    if calls == 1:
        # A signal handler.
        pending.set(5)
    return {"set": lambda value, timestamp: carried_out.append(value)}

pending = Pending(float, target)
pending.hold()
pending.set(3)
pending.set(4)
pending.release()
pending.set(6)
print(carried_out)
"""
    assert run(script) == "[3.0, 4.0, 5.0, 6.0]\n"


@pytest.mark.parametrize("step", ["hold", "swap", "release"])
def test_install_amid_many_values(step: str, variables: dict[str, Any], directory: Path) -> None:
    script = """
interrupt_amid(sys.argv[2], install)
count()
install()
count()
print(len(values), {value.get() for value in values}, set(scrape().values()))
finish()
"""
    assert run(MANY + script, directory, step, **variables) == "9 {25.0} {25.0}\n"


@pytest.mark.parametrize("step", ["hold", "restore", "release"])
def test_uninstall_amid_many_values(step: str, variables: dict[str, Any], directory: Path) -> None:
    script = """
install()
interrupt_amid(sys.argv[2], multiprom.uninstall)
count()
multiprom.uninstall()
count()
print({value.get() for value in values}, {type(value).__module__ for value in values})
install()
print(set(scrape().values()))
finish()
"""
    values, scraped = run(MANY + script, directory, step, **variables).splitlines()
    assert values == "{25.0} {'prometheus_client.values'}"
    assert scraped == "{25.0}"


def test_again_and_again_while_threads_count(variables: dict[str, Any], directory: Path) -> None:
    """And make series, at whatever moment it is interrupted."""
    script = """
import itertools, random, signal, sys
import multiprom
from support.counting_threads import CountingThreads
from prometheus_client import Counter
from support.scripts import finish
counter, numbers = Counter("n", "Help", ["label"]), itertools.count()
moments = random.Random(7)
interruptions = 0

def interrupt(number, frame):
    raise InterruptedError

signal.signal(signal.SIGALRM, interrupt)

def interrupted(call, *arguments):
    global interruptions
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.02))
        try:
            call(*arguments)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except InterruptedError:
        interruptions += 1

threads = CountingThreads(lambda: counter.labels(str(next(numbers) % 100)).inc(1))
for _ in range(20):
    interrupted(multiprom.install, sys.argv[1])
    interrupted(multiprom.uninstall)
total = threads.stop()
multiprom.install(sys.argv[1])
found = multiprom.MultiProcessCollector(None, sys.argv[1]).collect()
print(sum(s.value for metric in found for s in metric.samples) - total, interruptions > 0)
finish()
"""
    assert run(script, directory, **variables) == "0.0 True\n"
