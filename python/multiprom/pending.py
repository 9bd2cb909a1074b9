"""What is done to a value while it moves."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

# What metrics call on their values.
METHODS = ("inc", "set", "get", "set_exemplar", "get_exemplar")

# How long to wait for another thread that carries operations out, which takes microseconds.
_SECONDS = 1.0

Methods = dict[str, Callable[..., Any]]


def methods_of(value: Any) -> Methods:
    """Give what metrics call on `value`."""
    return {name: getattr(value, name) for name in METHODS}


class Pending:
    """Keeps what is done to a value until the value is at its new place.

    As long as operations are kept, who counts waits for nobody: it may be a signal handler, or a
    callback of the garbage collector, in the very thread that moves the value.
    """

    def __init__(self, known: Callable[[], float], target: Callable[[], Methods]) -> None:
        """Keep nothing yet.

        Args:
            known: Gives what the value held before what is kept.
            target: Gives what carries it out.

        """
        self._operations: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._known = known
        self._target = target
        self._is_held = False
        self._pid = os.getpid()
        self._draining = threading.Lock()
        self._drainer: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all was carried out."""
        return not self._operations

    def hold(self) -> None:
        """Keep what is done from now on."""
        self._notice_fork()
        self._is_held = True

    def release(self) -> None:
        """Carry out what was kept, in order, and from now on all that comes."""
        self._is_held = False
        self._drain()

    def inc(self, amount: float) -> None:
        """Add `amount`, now or later."""
        # What is no number is refused here, and not where it is carried out.
        self._do("inc", 0.0 + amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Set the value, and the Unix time in seconds at which it was set, now or later."""
        self._do("set", float(value), timestamp)

    def get(self) -> float:
        """Give the value, with what is to be carried out yet."""
        self._notice_fork()
        value = (self._known if self._is_held else self._target()["get"])()
        for name, (operand, *_) in self._operations.copy():
            value = operand if name == "set" else value + operand
        return value

    def set_exemplar(self, exemplar: object) -> None:
        """Do nothing: files have no exemplars."""

    def get_exemplar(self) -> None:
        """Give None: files have no exemplars."""

    def _do(self, name: str, *arguments: Any) -> None:
        self._notice_fork()
        self._operations.append((name, arguments))
        # Looked at after that: either this thread sees that nothing is kept any more, or the one
        # that releases it sees the operation.
        self._drain()

    def _notice_fork(self) -> None:
        """Keep nothing in the child of a fork, which may lack the thread that moves the value."""
        if self._pid != os.getpid():
            # The parent's, which carries them out.
            self._operations.clear()
            self._draining = threading.Lock()
            self._drainer = None
            self._is_held = False
            self._pid = os.getpid()

    def _drain(self) -> None:
        # One thread at a time, so that the order stays. The others wait, or they would add faster
        # than it carries out; but not for ever, since it may be suspended: it looks again after it
        # has given the lock back. A signal handler that has interrupted it must not overtake it.
        thread = threading.get_ident()
        while (
            not self._is_held
            and self._operations
            and self._drainer != thread
            and self._draining.acquire(timeout=_SECONDS)
        ):
            self._drainer = thread
            try:
                while self._operations:
                    operation = self._operations.popleft()
                    try:
                        name, arguments = operation
                        self._target()[name](*arguments)
                    except Exception:
                        # Of an identifier, for example: another one may succeed.
                        self._operations.appendleft(operation)
                        raise
            finally:
                self._drainer = None
                self._draining.release()
