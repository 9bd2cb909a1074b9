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
from support.files import MAGIC, counter, write, write_ours
from support.interpreters import run

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


KILLED_BESIDE_A_CHILD = """
import fcntl, os, shutil, signal, sys, threading, time
import multiprom

directory, kept = sys.argv[1:]
names = os.listdir(kept)

def is_locked(file):
    # A shared lock, for a moment: so a look is not taken for a writer that lives.
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False

def fork(act):
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(1)
    return pid

def parent():
    while True:
        for name in names:
            shutil.copy(os.path.join(kept, name), directory)
        files = [open(os.path.join(directory, name)) for name in names]
        thread = threading.Thread(target=multiprom.compact, args=(directory, [1, 2]), daemon=True)
        thread.start()
        # Files that are locked are read next, which takes far longer than a fork. An earlier fork
        # may come after a file was opened and before it is noted that a child has to close it.
        while thread.is_alive():
            if all(map(is_locked, files)):
                fork(child)
                os.kill(os.getpid(), signal.SIGKILL)
        # This thread had to wait for a processor all that time.
        for file in files:
            file.close()

def child():
    os.write(tell, b"%d" % os.getpid())
    os.close(tell)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(60)

told, tell = os.pipe()
assert os.waitpid(fork(parent), 0)[1] == signal.SIGKILL
print(os.read(told, 100).decode())
"""


def test_a_child_of_the_killed_keeps_no_lock(tmp_path: Path) -> None:
    """It has copies of the descriptors, and a lock lasts as long as one copy of it is open."""
    kept = tmp_path / "kept"
    directory = tmp_path / "metrics"
    kept.mkdir()
    directory.mkdir()
    for pid in (1, 2):
        entries = [counter(1, path=str(number)) for number in range(30_000)]
        path = write(kept / f"counter_{pid}.db", entries)
        # Written by multiprom, so that it is locked while it is folded.
        with path.open("r+b") as file:
            file.seek(4)
            file.write(MAGIC)
    child = int(run(KILLED_BESIDE_A_CHILD, directory, kept))
    try:
        done = multiprom.compact(directory)
        assert not done.busy
        assert done.left_alone == ()
        assert {path.name for path in directory.iterdir()} == {
            ".multiprom.lock",
            "counter_compacted.db",
        }
    finally:
        os.kill(child, signal.SIGKILL)
