"""Functions for the processes of multiprocessing, which import them by name."""

from __future__ import annotations

import os

import multiprom

multiprom.install()

from prometheus_client import Counter, Gauge  # noqa: E402, as if it were a program's first import

TASKS = Counter("tasks", "Tasks done.")
IDLE = Counter("idle", "Never counted.", ["why"])
IDLE.labels("none")
ALIVE = Gauge("alive", "Processes that have worked.", multiprocess_mode="livesum")


def work(amount: int) -> int:
    """Count a task of so many steps, and return who did it."""
    ALIVE.set(1)
    for _ in range(amount):
        TASKS.inc()
    return os.getpid()
