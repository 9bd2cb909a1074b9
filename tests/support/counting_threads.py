"""Threads that count until they are told to stop, switched as often as can be."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class CountingThreads:
    """Three threads, each of which calls `count` again and again."""

    def __init__(self, count: Callable[[], object]) -> None:
        sys.setswitchinterval(1e-6)
        self._counted = [0] * 3
        self._is_done = threading.Event()
        self._count = count
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self, index: int) -> None:
        while not self._is_done.is_set():
            self._count()
            self._counted[index] += 1

    def wait_for(self, calls: int) -> None:
        """Wait until there were so many more calls."""
        goal = sum(self._counted) + calls
        while sum(self._counted) < goal:
            time.sleep(0.0001)

    def stop(self) -> int:
        """Let them end, and return how often they have called."""
        self._is_done.set()
        for thread in self._threads:
            thread.join()
        return sum(self._counted)
