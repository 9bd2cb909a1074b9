"""Compactions that are killed at any moment, in processes of their own, beside scrapes.

The tests of the core stop a compaction before each of its steps; here the kernel does it, wherever
it happens to be, and locks are dropped as it drops them.
"""

from __future__ import annotations

import os
import random
import signal
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import stock
from support.files import counter, write_ours

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 5.0
NAMES = 7


def total(directory: Path, collector_class: Any = multiprom.MultiProcessCollector) -> float:
    metrics = collector_class(CollectorRegistry(), str(directory)).collect()
    found: float = sum(sample.value for metric in metrics for sample in metric.samples)
    return found


def compact_for_ever(directory: Path) -> int:
    pid = os.fork()
    if pid == 0:
        while True:
            multiprom.compact(directory)
    return pid


def test_no_total_falls_or_is_counted_twice(directory: Path) -> None:
    dice = random.Random(1)
    truth = Fraction(0)
    deaths = kills = 0
    multiprom.compact(directory)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline or kills <= 50 or deaths <= 100:
        compactor = compact_for_ever(directory)
        end = time.monotonic() + dice.uniform(0, 0.02)
        try:
            while time.monotonic() < end:
                path = directory / f"counter_{dice.randrange(NAMES)}.db"
                if not path.exists():
                    value = dice.random() / 3
                    hidden = write_ours(directory / "hidden", counter(value))
                    hidden.rename(path)
                    truth += Fraction(value)
                    deaths += 1
                assert total(directory) == float(truth)
        finally:
            os.kill(compactor, signal.SIGKILL)
            os.waitpid(compactor, 0)
            kills += 1
        assert total(directory) == float(truth)
        if kills % 2:
            # Recovered, also prometheus_client's reader sees each count once.
            multiprom.compact(directory)
            found = total(directory, stock.MultiProcessCollector)
            assert found == pytest.approx(float(truth), rel=1e-15)
    multiprom.compact(directory)
    assert total(directory) == float(truth)
    assert [path.name for path in directory.glob("*.db")] == ["counter_compacted.db"]
