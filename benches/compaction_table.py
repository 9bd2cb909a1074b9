"""`make bench-compaction`: what the dead cost before and after their files are folded.

First the directory L, all but the eight newest of whose processes die. Then one more death, after
ever longer histories. Last, deaths of workers of which each has series that no other has.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import multiprom
from machine import about, print_table, progress
from multiprom import _core
from scrape_contenders import MULTIPROM, STOCK
from scrape_directories import SIZES, Size, in_own_process, write
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
# Workers whose series are all distinct, as with a label that names a tenant or a shard. Whoever
# replaces a dead one counts in the same series, so the archive comes to hold those of all.
WORKERS = 48
SERIES = 2_000
DEATHS = 500
DEATHS_IN_A_ROW = 100
# No process has such a pid.
FIRST_PID = 1 << 30
COUNT = """
import os, sys
import multiprom
multiprom.install(sys.argv[1])
from prometheus_client import Counter
requests = Counter("requests", "Requests.", ["shard", "item"])
for worker in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        for number in range(int(sys.argv[3])):
            requests.labels(worker, f"item-{number}").inc()
        os._exit(0)
    os.waitpid(pid, 0)
    os.rename(f"{sys.argv[1]}/counter_{pid}.db", f"{sys.argv[1]}/{worker}")
"""


def main() -> None:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), (STOCK, MULTIPROM)))
        directory = Path(parent, "L")
        directory.mkdir()
        size = SIZES["L"]
        progress(f"stock prometheus_client writes {size.files:,} files")
        in_own_process(write, directory, size)
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
        distinct = Path(parent, "distinct")
        distinct.mkdir()
        each = ("folded at once, mean", "processor", "by the hook, mean", "processor")
        deaths = ("deaths", *each, "slowest", "files at most", "archive")
        print_table(deaths, _deaths(distinct), texts=1)


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
        progress(f"{library} scrapes {len(list(directory.glob('*.db'))):,} files")
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
        progress(f"folding one more of {died:,}")
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


def _deaths(directory: Path) -> list[tuple[str, ...]]:
    """Return the rows for the deaths of workers whose series are all distinct."""
    templates, at_once, waiting = (directory / name for name in ("templates", "once", "waiting"))
    for folder in (templates, at_once, waiting):
        folder.mkdir()
    progress(f"{WORKERS} workers count in {SERIES:,} series each")
    environment = {**os.environ, "MULTIPROM_COMPACTION": "off"}
    command = [sys.executable, "-c", COUNT, str(templates), str(WORKERS), str(SERIES)]
    subprocess.run(command, check=True, env=environment)
    rows = []
    eager, patient = _Deaths(at_once), _Deaths(waiting)
    for begin in range(0, DEATHS, DEATHS_IN_A_ROW):
        progress(f"deaths from {begin + 1}")
        for number in range(begin, begin + DEATHS_IN_A_ROW):
            for deaths, fold in ((eager, _fold_at_once), (patient, _fold_as_the_hook)):
                deaths.add(templates / str(number % WORKERS), FIRST_PID + number, fold)
        row = slice(begin, None)
        rows.append(_row(f"{begin + 1} to {begin + DEATHS_IN_A_ROW}", eager, patient, row))
    rows.append(_row("all", eager, patient, slice(None)))
    for metrics in (at_once, waiting):
        multiprom.compact(metrics)
        collector = multiprom.MultiProcessCollector(None, metrics)
        values = [sample.value for metric in collector.collect() for sample in metric.samples]
        if len(values) != WORKERS * SERIES or sum(values) != DEATHS * SERIES:
            raise SystemExit(f"bench: {len(values)} samples, {sum(values)} in all")
    return rows


class _Deaths:
    """Deaths in one directory, and what they took: seconds, and seconds of the processor."""

    def __init__(self, metrics: Path) -> None:
        self.metrics = metrics
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.most_files = 0

    def add(self, template: Path, pid: int, fold: Callable[[Path, int], object]) -> None:
        """Let a worker die that counted in a copy of this file."""
        shutil.copy(template, self.metrics / f"counter_{pid}.db")
        time.sleep(REST_SECONDS)
        began, processor = time.perf_counter(), time.process_time()
        multiprom.mark_process_dead(pid, str(self.metrics))
        left_alone = fold(self.metrics, pid)
        self.processor.append(time.process_time() - processor)
        self.seconds.append(time.perf_counter() - began)
        if left_alone:
            raise SystemExit(f"bench: not folded: {left_alone}")
        self.most_files = max(self.most_files, len(list(self.metrics.glob("*.db"))))


def _fold_at_once(metrics: Path, pid: int) -> object:
    return multiprom.compact(metrics, [pid]).left_alone


def _fold_as_the_hook(metrics: Path, pid: int) -> object:
    *_, left_alone, _ = _core.fold_dead(str(metrics), str(pid))
    return left_alone


def _row(which: str, eager: _Deaths, patient: _Deaths, part: slice) -> tuple[str, ...]:
    times = [
        f"{statistics.mean(values[part]) * 1000:.2f} ms"
        for deaths in (eager, patient)
        for values in (deaths.seconds, deaths.processor)
    ]
    slowest = f"{max(patient.seconds[part]) * 1000:.2f} ms"
    archive = (patient.metrics / "counter_compacted.db").stat().st_size / 2**20
    return (which, *times, slowest, f"{patient.most_files:,}", f"{archive:.1f} MiB")


def _die(template: Path, directory: Path, pid: int) -> None:
    """Put the files of a dead worker into the directory."""
    for file in template.iterdir():
        shutil.copy(file, directory / file.name.replace("_1000.db", f"_{pid}.db"))


if __name__ == "__main__":
    main()
