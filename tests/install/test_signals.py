"""Signal handlers wait until what must not be broken off is done."""

from __future__ import annotations

from multiprom import signals
from support.interpreters import run

SCRIPT = """
import os, signal, sys, threading
from multiprom.signals import deferred

handled = []

def handle(number, frame):
    handled.append((number, frame is not None))

def fail(number, frame):
    handle(number, frame)
    raise InterruptedError(number)

def send(number):
    os.kill(os.getpid(), number)

FIRST, SECOND, THIRD = signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM
"""


def test_each_is_called_once_when_it_is_done_even_if_others_raise() -> None:
    script = """
for number in (FIRST, SECOND, THIRD):
    signal.signal(number, fail)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    with deferred():
        for number in (SECOND, FIRST, SECOND, THIRD, signal.SIGHUP):
            send(number)
        assert handled == []
except InterruptedError as error:
    print(error.args == (THIRD,), error.__context__.args == (FIRST,))
print(handled == [(SECOND, True), (FIRST, True), (THIRD, True)])
print({signal.getsignal(number) is fail for number in (FIRST, SECOND, THIRD)})
"""
    assert run(SCRIPT + script) == "True True\nTrue\n{True}\n"


def test_what_raises_itself() -> None:
    script = """
signal.signal(FIRST, handle)
try:
    with deferred():
        send(FIRST)
        raise ValueError
except ValueError:
    print(len(handled), signal.getsignal(FIRST) is handle)
"""
    assert run(SCRIPT + script) == "1 True\n"


def test_handlers_that_are_set_meanwhile_stay() -> None:
    script = """
signal.signal(FIRST, fail)
with deferred():
    signal.signal(FIRST, handle)
    send(FIRST)
print(len(handled), signal.getsignal(FIRST) is handle)
"""
    assert run(SCRIPT + script) == "1 True\n"


def test_a_process_that_another_thread_forks_handles_signals_at_once() -> None:
    """There nobody ever comes to an end of it."""
    script = """
import warnings
# Python 3.12 warns of forks beside threads.
warnings.simplefilter("ignore", DeprecationWarning)
signal.signal(FIRST, handle)

def fork():
    if os.fork() == 0:
        send(FIRST)
        os._exit(len(handled))

with deferred():
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert not handled
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run(SCRIPT + script) == "1\n"


def test_other_threads_have_nothing_to_defer() -> None:
    script = """
signal.signal(FIRST, handle)

def look():
    with deferred():
        print(signal.getsignal(FIRST) is handle)

thread = threading.Thread(target=look)
thread.start()
thread.join()
"""
    assert run(SCRIPT + script) == "True\n"


def test_other_interpreters_have_nothing_to_defer() -> None:
    # By path: not every Python lets such an interpreter import what is not written in Python.
    script = """
import signal, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def handle(number, frame):
    pass

signal.signal(signal.SIGUSR1, handle)
other = interpreters.create()
interpreters.run_string(other, f'''if True:
    import runpy
    with runpy.run_path({sys.argv[1]!r})["deferred"]():
        print("done", flush=True)
''')
interpreters.destroy(other)
print(signal.getsignal(signal.SIGUSR1) is handle)
"""
    assert run(script, signals.__file__) == "done\nTrue\n"
