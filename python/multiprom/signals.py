"""Lets signal handlers wait until something is done that must not be broken off."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handlers = dict[int, Callable[[int, FrameType | None], object]]


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Call the handlers of signals that arrive meanwhile afterwards: one may raise, as at Ctrl-C.

    Only handlers written in Python, which run in the main thread only. In other threads, and in
    other interpreters than the main one, there is nothing to do.
    """
    handlers = _handlers()
    arrived: list[int] = []
    deferring: int | None = os.getpid()

    def defer(number: int, frame: FrameType | None) -> None:
        # Not in a process that another thread forks, where this would never end, nor if there
        # is a signal before all handlers are back.
        if os.getpid() == deferring:
            arrived.append(number)
        else:
            handlers[number](number, frame)

    try:
        # In another interpreter than the main one that is no use, and refused.
        with contextlib.suppress(ValueError):
            for number in handlers:
                signal.signal(number, defer)
        yield
    finally:
        deferring = None
        try:
            for number, handler in handlers.items():
                if signal.getsignal(number) is defer:
                    signal.signal(number, handler)
        finally:
            # Each once, however often it arrived, as the kernel does.
            _call(handlers, list(dict.fromkeys(arrived)))


def _handlers() -> Handlers:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {number: handler for number, handler in found.items() if callable(handler)}


def _call(handlers: Handlers, numbers: list[int]) -> None:
    """Call each handler, even if the one before raises."""
    if numbers:
        number, *rest = numbers
        try:
            handlers[number](number, inspect.currentframe())
        finally:
            _call(handlers, rest)
