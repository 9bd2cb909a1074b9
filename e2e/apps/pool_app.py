"""A pool of processes of the standard library, used by a web server in their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any

import counting
import front
from prometheus_client import generate_latest

WORKERS = 2
SECONDS = 5
# A worker ends at once when the pool tells it to; its parent ends in order.
INITIALIZER: dict[str, Any] = {
    "initializer": signal.signal,
    "initargs": (signal.SIGTERM, signal.SIG_DFL),
}


class Pool:
    """`multiprocessing.Pool`, whose workers are replaced after some tasks."""

    def __init__(self, method: str) -> None:
        context = multiprocessing.get_context(method)
        self._pool = context.Pool(WORKERS, maxtasksperchild=50, **INITIALIZER)

    def submit(self, path: str) -> str:
        """Let a worker do it."""
        return self._pool.apply_async(counting.work, (path,)).get(timeout=SECONDS)

    def end(self) -> None:
        """End the workers."""
        self._pool.terminate()


class Executor:
    """`ProcessPoolExecutor`, which is broken after one of its workers was killed."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._lock = threading.Lock()
        self._executor = self._make()

    def _make(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(self._method)
        # Recycling does not go with `fork`, which may be unsafe beside threads.
        recycles = self._method != "fork" and sys.version_info >= (3, 11)
        more: dict[str, Any] = {"max_tasks_per_child": 50} if recycles else {}
        return ProcessPoolExecutor(WORKERS, context, **INITIALIZER, **more)

    def submit(self, path: str) -> str:
        """Let a worker do it, and take a new executor if this one is broken."""
        executor = self._executor
        try:
            return executor.submit(counting.work, path).result(timeout=SECONDS)
        except BrokenExecutor:
            with self._lock:
                if self._executor is executor:
                    self._executor = self._make()
            raise

    def end(self) -> None:
        """End the workers."""
        self._executor.shutdown(cancel_futures=True)


def main() -> None:
    """Serve on a port with a kind of pool and a start method."""
    kind, method, port = sys.argv[1:]
    pool = Pool(method) if kind == "Pool" else Executor(method)
    registry = counting.registry()
    front.serve(int(port), pool.submit, lambda: generate_latest(registry))
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        while True:
            signal.pause()
    pool.end()
    front.leave()


if __name__ == "__main__":
    main()
