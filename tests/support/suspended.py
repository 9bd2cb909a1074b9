"""Threads that stop in the midst of something until they are told to go on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Long enough for any machine; only a test that fails waits for so long.
SECONDS = 30


class Stop:
    """A place at which the first thread that comes by is suspended."""

    def __init__(self) -> None:
        self._is_here = threading.Event()
        self._may_go_on = threading.Event()

    def come_by(self) -> None:
        """Wait, if nobody has been here."""
        if not self._is_here.is_set():
            self._is_here.set()
            assert self._may_go_on.wait(SECONDS)

    def let_go_on(self) -> None:
        """Let it go on."""
        self._may_go_on.set()

    def start(self, target: Callable[..., object], *arguments: object) -> threading.Thread:
        """Start a thread, and wait until it is here."""
        thread = threading.Thread(target=target, args=arguments)
        thread.start()
        assert self._is_here.wait(SECONDS)
        return thread


class Amount:
    """A number that does something else while it is added to a float."""

    def __init__(self, amount: float, meanwhile: Callable[[], object]) -> None:
        self._amount = amount
        self._meanwhile = meanwhile

    def __radd__(self, other: float) -> float:
        self._meanwhile()
        return other + self._amount


def beside(stop: Stop, thread: threading.Thread, value: Any, target: Callable[..., object]) -> None:
    """Run `target`, which replaces the methods of `value`, while `thread` is suspended.

    As soon as the methods are replaced, and a little later, it goes on: what waits for the thread
    must not have done its work by then, and what does not wait has.
    """
    other = threading.Thread(target=target)
    other.start()
    end = time.monotonic() + SECONDS
    while "inc" not in vars(value) and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.1)
    stop.let_go_on()
    thread.join(SECONDS)
    other.join(SECONDS)
    assert not thread.is_alive()
    assert not other.is_alive()
