"""install() and uninstall() while threads count, a signal handler comes in, or a process forks.

A thread that is inside one of prometheus_client's own counts when its value moves may lose that one
count. Nothing raises, nothing waits, and no total falls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, signal, sys, threading, time
from support.counting_threads import CountingThreads
from support.suspended import Amount, Stop
from support.scripts import finish, scrape
from prometheus_client import Counter, Gauge, values
import multiprom
directory = sys.argv[1]
counter = Counter("n", "Help", ["label"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
child = counter.labels("a")
child.inc(5)
gauge.set(5)
value, level = child._value, gauge._value
stop = Stop()

def install():
    multiprom.install(directory)
"""


@pytest.fixture(params=[False, True], ids=["in memory", "in files"])
def variables(request: pytest.FixtureRequest, directory: Path) -> dict[str, Any]:
    """Give the environment in which prometheus_client counts in memory, or in files."""
    return {"PROMETHEUS_MULTIPROC_DIR": directory} if request.param else {}


def test_threads_that_count_meanwhile(variables: dict[str, Any], directory: Path) -> None:
    """Each of the three may lose the count that it is in, of each value."""
    script = """
def count():
    child.inc()
    value.inc(1)
    gauge.inc()
    level.inc(1)

threads = CountingThreads(count)
threads.wait_for(1000)
install()
threads.wait_for(1000)
total = 5 + 2 * threads.stop()
found = scrape()
assert found == {"n_total": value.get(), "g": level.get()}, (found, value.get(), level.get())
print(*[int(total - held.get()) for held in (value, level)])
finish()
"""
    for _ in range(5):
        for file in directory.glob("*.db"):
            file.unlink()
        lost = map(int, run(COUNTED + script, directory, **variables).split())
        assert all(0 <= each <= 3 for each in lost)


def test_no_total_falls(variables: dict[str, Any], directory: Path) -> None:
    """As seen by the threads that count, and by scrapes of another process."""
    script = """
import subprocess
looking = subprocess.Popen([sys.executable, "-c", '''
import sys
import multiprom
last, falls = 0.0, 0
print("ready", flush=True)
while True:
    found = multiprom.MultiProcessCollector(None, sys.argv[1]).collect()
    total = sum(s.value for metric in found for s in metric.samples if s.name == "n_total")
    falls += total < last
    last = total
    if total > 1e9:
        break
print(falls)
''', directory], stdout=subprocess.PIPE, text=True)
assert looking.stdout.readline() == "ready\\n"
falls = []

def count():
    before = value.get()
    child.inc()
    if value.get() < before:
        falls.append(before)

threads = CountingThreads(count)
threads.wait_for(1000)
install()
threads.wait_for(1000)
threads.stop()
child.inc(2e9)
print(falls, looking.communicate()[0])
finish()
"""
    assert run(COUNTED + script, directory, **variables) == "[] 0\n\n"


def test_there_and_back_while_threads_count(directory: Path) -> None:
    script = """
threads = CountingThreads(child.inc)
for _ in range(10):
    install()
    threads.wait_for(20)
    multiprom.uninstall()
    threads.wait_for(20)
print(int(5 + threads.stop() - value.get()))
"""
    # Three threads, there and back ten times.
    assert 0 <= int(run(COUNTED + script, directory)) <= 60


def test_new_series_meanwhile(variables: dict[str, Any], directory: Path) -> None:
    """What a thread makes meanwhile is in the files; of each at most one count a thread is lost."""
    script = """
import itertools
numbers = itertools.count()
threads = CountingThreads(lambda: counter.labels(str(next(numbers) % 300)).inc(1))
threads.wait_for(500)
install()
threads.wait_for(500)
threads.stop()
counted = [0] * 300
for number in range(next(numbers)):
    counted[number % 300] += 1
for metric in multiprom.MultiProcessCollector(None).collect():
    for sample in metric.samples:
        if sample.name == "n_total" and sample.labels["label"] != "a":
            counted[int(sample.labels["label"])] -= int(sample.value)
print(min(counted), max(counted))
finish()
"""
    least, most = map(int, run(COUNTED + script, directory, **variables).split())
    assert 0 <= least <= most <= 3


@pytest.mark.parametrize("held", ["value", "level"])
def test_a_count_that_does_not_end(held: str, variables: dict[str, Any], directory: Path) -> None:
    """install() does not wait for it; what other threads count meanwhile stays."""
    script = f"""
thread = stop.start({held}.inc, Amount(1, stop.come_by))
install()
{held}.inc(10)
stop.let_go_on()
thread.join()
{held}.inc(100)
print({held}.get(), scrape()[{{"value": "n_total", "level": "g"}}["{held}"]])
finish()
"""
    assert run(COUNTED + script, directory, **variables) == "115.0 115.0\n"


def test_a_count_that_is_just_being_written(directory: Path) -> None:
    """prometheus_client writes what a value comes to: not into the file that counts on."""
    script = """
from prometheus_client import mmap_dict
write = mmap_dict.MmapedDict.write_value

def write_value(*arguments):
    stop.come_by()
    return write(*arguments)

mmap_dict.MmapedDict.write_value = write_value
thread = stop.start(value.inc, 1)
install()
child.inc(10)
stop.let_go_on()
thread.join()
print(value.get(), scrape()["n_total"])
finish()
"""
    printed = run(COUNTED + script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "16.0 16.0\n"


@pytest.mark.parametrize("call", ["install", "multiprom.uninstall"])
def test_a_signal_handler_that_calls(call: str, variables: dict[str, Any], directory: Path) -> None:
    """It has interrupted a count of its own thread, which goes on only after it."""
    script = f"""
install() if {call!r} == "multiprom.uninstall" else None
value.inc(Amount(1, {call})) if {call!r} == "install" else {call}()
install()
value.inc(10)
print(value.get(), scrape()["n_total"])
finish()
"""
    assert run(COUNTED + script, directory, **variables) == "15.0 15.0\n"


def test_a_fork_meanwhile(variables: dict[str, Any], directory: Path) -> None:
    """The child lacks the thread that installs, and counts all the same."""
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
for number in range(2000):
    counter.labels(str(number)).inc(1)
installing = threading.Thread(target=install)
installing.start()
while "inc" not in vars(value):
    # Not a loop that keeps the interpreter: the other thread would wait for it at each system call.
    time.sleep(0.0001)
pid = os.fork()
if pid == 0:
    child.inc(7)
    multiprom.install()
    child.inc(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
installing.join()
child.inc(10)
print(os.getpid(), pid)
finish()
"""
    parent, pid = run(COUNTED + script, directory, **variables).split()
    assert values_of(directory / f"counter_{pid}.db")["n_total a"] == 8.0
    assert values_of(directory / f"counter_{parent}.db")["n_total a"] == 15.0


def test_a_fork_during_a_first_use(directory: Path) -> None:
    """What a thread is just making for good is not there in the child, which must not wait for it.

    The thread that forks has the interpreter as soon as the call lets go of it for the first time:
    the sum before it kept that thread waiting, and no bytecode is between the two.
    """
    run(
        """
        import os, signal, sys, threading, time, warnings
        from functools import partial
        from support.scripts import finish
        from prometheus_client import CollectorRegistry, Counter, Gauge
        import multiprom
        from multiprom import _core
        warnings.simplefilter("ignore", DeprecationWarning)
        multiprom.install(sys.argv[1])
        counter = Counter("n", "Help", ["label"])
        gauge = Gauge("g", "Help", multiprocess_mode="sum")
        a_while = partial(sum, range(5_000_000))

        def in_thread(call):
            time.sleep(0.01)
            try:
                list(map(partial.__call__, [a_while, call]))
            except TypeError:
                pass

        for call in [
            partial(counter.labels, "a"),
            partial(gauge.set, 1),
            partial(counter.remove, "a"),
            partial(_core.leave, None),
            partial(multiprom.generate_latest, CollectorRegistry()),
        ]:
            thread = threading.Thread(target=in_thread, args=[call])
            thread.start()
            time.sleep(0.03)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                try:
                    call()
                except (KeyError, TypeError):
                    pass
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0, call
            thread.join()
        finish()
        """,
        directory,
    )


@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_any_moment(seed: int, variables: dict[str, Any], directory: Path) -> None:
    """As by Ctrl-C. Another install() finishes the work, and no count is lost or doubled."""
    script = """
import random, warnings
# shutil leaves a file to the garbage collector if it is interrupted.
warnings.simplefilter("ignore", ResourceWarning)
moments = random.Random(sys.argv[2])
metrics = [counter.labels(str(number)) for number in range(300)]
for metric in metrics:
    metric.inc(1)

def interrupt(number, frame):
    if "importlib" in frame.f_code.co_filename:
        # Python only prints what is raised in a callback of an import: a little later, then.
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
    else:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
# So that it is work that is interrupted, and not an import.
multiprom.MultiProcessCollector, multiprom.generate_latest, multiprom.install
interruptions = 0
for _ in range(20):
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.01))
        try:
            install()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interruptions += 1
    for metric in metrics:
        metric.inc(1)
install()
print({metric._value.get() for metric in metrics}, value.get(), level.get(), interruptions > 0)
collected = multiprom.MultiProcessCollector(None).collect()
print({s.value for metric in collected for s in metric.samples if s.labels} - {5.0})
finish()
"""
    printed = run(COUNTED + script, directory, str(seed), **variables)
    assert printed == "{21.0} 5.0 5.0 True\n{21.0}\n"


def test_an_uninstall_that_is_interrupted(directory: Path) -> None:
    script = """
import random
moments = random.Random(7)

class Interruption(BaseException):
    pass

def interrupt(number, frame):
    raise Interruption

signal.signal(signal.SIGALRM, interrupt)
metrics = [counter.labels(str(number)) for number in range(300)]
for _ in range(20):
    install()
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.01))
        try:
            multiprom.uninstall()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interruption:
        pass
    for metric in metrics:
        metric.inc(1)
multiprom.uninstall()
print({metric._value.get() for metric in metrics}, "PROMETHEUS_MULTIPROC_DIR" in os.environ)
print({type(metric._value) is values.MutexValue for metric in metrics}, values.ValueClass.__name__)
finish()
"""
    assert run(COUNTED + script, directory) == "{20.0} False\n{True} MutexValue\n"


def test_first_use_in_many_threads() -> None:
    """One of them imports multiprom's modules; the others must not find half a module."""
    printed = run("""
        import sys, threading, time
        sys.setswitchinterval(1e-5)
        import multiprom
        from prometheus_client import CollectorRegistry

        failures = []

        def use(number):
            time.sleep(number * 0.0005)
            try:
                if number % 4 == 0:
                    multiprom.install()
                assert multiprom.generate_latest(CollectorRegistry()) == b""
            except BaseException as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=use, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(threads), failures)
    """)
    assert printed.strip() == "40 []"
