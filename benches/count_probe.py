"""Measuring one operation of one library in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from count_contenders import sampler, use

_spawn = multiprocessing.get_context("spawn")


class Probe:
    """A child process that has made its metrics and waits for orders."""

    def __init__(self, library: str, operation: str, directory: Path) -> None:
        self._orders, far_end = _spawn.Pipe()
        self._process = _spawn.Process(
            target=_serve, args=(far_end, library, operation, directory), daemon=True
        )
        self._process.start()
        far_end.close()

    def samples(self, budget: float) -> list[float]:
        """Return the seconds of the operation, as often as fits into `budget`, at least once."""
        self._orders.send(budget)
        try:
            received: list[float] = self._orders.recv()
        except EOFError:
            # The child's own traceback stands above on stderr.
            raise SystemExit("bench: a measuring process ended early") from None
        return received

    def close(self) -> None:
        """End the child."""
        self._orders.close()
        self._process.join()


def _serve(orders: Connection, library: str, operation: str, directory: Path) -> None:
    use(library, directory)
    sample = sampler(operation)
    # The first one pays for what happens once.
    sample()
    while True:
        try:
            budget = orders.recv()
        except EOFError:
            return
        samples: list[float] = []
        end = time.perf_counter() + budget
        while not samples or time.perf_counter() < end:
            samples.append(sample())
        orders.send(samples)
