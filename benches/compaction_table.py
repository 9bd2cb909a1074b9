"""`make bench-compaction`: what the dead cost before and after their files are folded.

First the directory L, all but the eight newest of whose processes die. Then one more death, after
ever longer histories.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import multiprom
from machine import about, print_table
from multiprom import _core
from scrape_contenders import MULTIPROM, STOCK
from scrape_directories import SIZES, Size, write
from scrape_probe import Probe

LIVING = 8
# How many workers have died before the one whose folding is measured.
HISTORIES = (10, 100, 1_000, 10_000)
# Deaths that are folded at once to come to such a history.
BATCH = 100
DEATHS_MEASURED = 25
# A file that was changed within the clock's tick is waited for, 12 ms at most: see
# docs/compaction.md. Mostly a worker's files were not, so these rest first.
REST_SECONDS = 0.02
TURN_SECONDS = 1.0


def main() -> None:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), (STOCK, MULTIPROM)))
        directory = Path(parent, "L")
        directory.mkdir()
        size = SIZES["L"]
        _progress(f"stock prometheus_client writes {size.files:,} files")
        _write(directory, size)
        template = Path(parent, "template")
        template.mkdir()
        for file in directory.glob("*_1000.db"):
            shutil.copy(file, template)
        scrapes = ("directory L", STOCK, MULTIPROM, "files", "bytes")
        print_table(scrapes, _scrapes(directory, size), texts=1)
        shutil.rmtree(directory)
        history = Path(parent, "history")
        history.mkdir()
        folds = ("deaths before", "one more death, median", "slowest")
        print_table(folds, _folds(template, history), texts=1)


def _write(directory: Path, size: Size) -> None:
    """Let a process of its own write, which does not leave its metrics behind here."""
    writer = get_context("spawn").Process(target=write, args=(directory, size))
    writer.start()
    writer.join()
    if writer.exitcode != 0:
        raise SystemExit("bench: writing failed")
    os.sync()


def _scrapes(directory: Path, size: Size) -> list[tuple[str, ...]]:
    """Return the rows for directory to text, before and after the dead are folded."""
    before = _texts(directory)
    dead = range(1000, 1000 + size.processes - LIVING)
    began = time.perf_counter()
    done = multiprom.compact(directory, dead)
    seconds = time.perf_counter() - began
    if done.processes != len(dead) or done.left_alone:
        raise SystemExit(f"bench: not all was folded: {done}")
    after = _texts(directory)
    return [
        (f"{size.processes} processes, none folded", *before),
        (f"{len(dead)} of them folded, in {seconds:.2f} s", *after),
    ]


def _texts(directory: Path) -> tuple[str, str, str, str]:
    times = []
    for library in (STOCK, MULTIPROM):
        _progress(f"{library} scrapes {len(list(directory.glob('*.db'))):,} files")
        probe = Probe(library, directory)
        times.append(f"{probe.seconds('text', TURN_SECONDS) * 1000:.2f} ms")
        probe.close()
    files = list(directory.glob("*.db"))
    size = sum(file.stat().st_size for file in files)
    return (times[0], times[1], f"{len(files):,}", f"{size / 2**20:.1f} MiB")


def _folds(template: Path, directory: Path) -> list[tuple[str, ...]]:
    """Return the rows for folding one more worker."""
    rows: list[tuple[str, ...]] = []
    died = 0
    for history in HISTORIES:
        while died < history:
            batch = range(died, min(died + BATCH, history))
            for pid in batch:
                _die(template, directory, pid)
            multiprom.compact(directory, batch)
            died = batch.stop
        _progress(f"folding one more of {died:,}")
        times = []
        for _ in range(DEATHS_MEASURED):
            _die(template, directory, died)
            time.sleep(REST_SECONDS)
            began = time.perf_counter()
            processes, *_, left_alone, _ = _core.fold_dead(str(directory), str(died))
            times.append(time.perf_counter() - began)
            if processes != 1 or left_alone:
                raise SystemExit(f"bench: not folded: {left_alone}")
            died += 1
        median, slowest = statistics.median(times) * 1000, max(times) * 1000
        rows.append((f"{history:,}", f"{median:.2f} ms", f"{slowest:.2f} ms"))
    return rows


def _die(template: Path, directory: Path, pid: int) -> None:
    """Put the files of a dead worker into the directory."""
    for file in template.iterdir():
        shutil.copy(file, directory / file.name.replace("_1000.db", f"_{pid}.db"))


def _progress(message: str) -> None:
    """Tell on stderr what is going on: stdout is the table."""
    print(f"bench: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
