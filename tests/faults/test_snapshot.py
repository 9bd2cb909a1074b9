"""A file that comes and goes is in all families of a scrape or in none.

Most families are merged while the files are read; some that need the order of entries are read
once more. Both readings must have found the same files.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import multiprom
from support.files import counter, write

if TYPE_CHECKING:
    from pathlib import Path

SCRAPES = 300


def test_all_of_a_file_or_nothing(directory: Path) -> None:
    """The sum of `a` needs more bits than two doubles have, so `a` is read a second time."""
    for number, value in enumerate((1e299, 1.0, 1e-299)):
        write(directory / f"counter_{number}.db", [counter(value, "a")])
    hidden = write(directory / "hidden", [counter(1e290, "a"), counter(1, "b")])
    shown = directory / "counter_9.db"
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            os.link(hidden, shown)
            shown.unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    seen = set()
    try:
        for _ in range(SCRAPES):
            collector = multiprom.MultiProcessCollector(None, directory)
            sums = {metric.name: metric.samples[0].value for metric in collector.collect()}
            seen.add((sums["a"] > 1e299, "b" in sums))
    finally:
        done.set()
        thread.join()
    assert seen <= {(True, True), (False, False)}
