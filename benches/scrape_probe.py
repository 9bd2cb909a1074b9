"""Measuring one library in a process of its own, so that no library pays for another."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import resource
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from scrape_contenders import Contender, contender, stock_by_name

# How long a ticker sleeps: short against every stall worth knowing.
TICK_SECONDS = 0.0005
_TICKER_START_SECONDS = 0.05

_spawn = multiprocessing.get_context("spawn")


class Probe:
    """A child process that has loaded one library and waits for orders."""

    def __init__(self, library: str, directory: Path) -> None:
        self._orders, far_end = _spawn.Pipe()
        self._process = _spawn.Process(
            target=_serve, args=(far_end, library, directory), daemon=True
        )
        self._process.start()
        far_end.close()
        self.missing: str = self._receive()

    def seconds(self, what: str, budget: float) -> float:
        """Return the fastest of the scrapes that fit into `budget` seconds, at least one."""
        return cast("float", self._ask("seconds", what, budget))

    def memory(self) -> int:
        """Return the bytes by which the peak of resident memory grew in one scrape to text."""
        return cast("int", self._ask("memory"))

    def stall(self, budget: float) -> float:
        """Return the longest time in which another thread did not run while scraping."""
        return cast("float", self._ask("stall", budget))

    def text(self) -> bytes:
        """Return the text of one scrape."""
        return cast("bytes", self._ask("text"))

    def request(self) -> bytes:
        """Return the body of the answer to one request."""
        return cast("bytes", self._ask("request"))

    def text_of_stock(self) -> bytes:
        """Return the text of stock over the files in name order."""
        return cast("bytes", self._ask("text_of_stock"))

    def close(self) -> None:
        """End the child."""
        self._orders.close()
        self._process.join()

    def _ask(self, *order: object) -> object:
        self._orders.send(order)
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._orders.recv()
        except EOFError:
            # The child's own traceback stands above on stderr.
            raise SystemExit("bench: a measuring process ended early") from None


def _serve(orders: Connection, library: str, directory: Path) -> None:
    try:
        library_at_work = contender(library, directory)
    except ImportError as error:
        orders.send(str(error))
        return
    orders.send("")
    answers: dict[str, Callable[..., object]] = {
        "seconds": lambda what, budget: _seconds(getattr(library_at_work, what), budget),
        "memory": lambda: _memory(library_at_work),
        "stall": lambda budget: _stall(library_at_work.text, budget),
        "text": library_at_work.text,
        "request": library_at_work.request,
        "text_of_stock": lambda: stock_by_name(directory).text(),
    }
    while True:
        try:
            name, *arguments = orders.recv()
        except EOFError:
            return
        orders.send(answers[name](*arguments))


def _seconds(scrape: Callable[[], object], budget: float) -> float:
    # The garbage of the scrape before is not this one's; what it makes itself is.
    gc.collect()
    best = float("inf")
    start = time.perf_counter()
    while True:
        before = time.perf_counter()
        scrape()
        after = time.perf_counter()
        best = min(best, after - before)
        if after - start >= budget:
            return best


def _memory(library: Contender) -> int:
    before = _peak_bytes(reset=True)
    library.text()
    return _peak_bytes() - before


def _peak_bytes(*, reset: bool = False) -> int:
    """Return the peak of resident memory, on Linux since it was last reset to what is in use."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not getrusage: its peak is inherited from the parent over fork and exec.
    if reset:
        # Where this is refused, the peak so far stays, and the growth is a lower bound.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _stall(scrape: Callable[[], object], budget: float) -> float:
    longest = 0.0
    done = False

    def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done:
            time.sleep(TICK_SECONDS)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    ticker = threading.Thread(target=tick)
    ticker.start()
    # The start of a thread is not a stall: let it tick, then begin to look.
    time.sleep(_TICKER_START_SECONDS)
    longest = 0.0
    start = time.perf_counter()
    while time.perf_counter() - start < budget:
        scrape()
    done = True
    ticker.join()
    return longest


def idle_stall(budget: float) -> float:
    """Return the longest stall of a thread beside one that only sleeps: the machine's own."""
    return _stall(lambda: time.sleep(budget), budget)
