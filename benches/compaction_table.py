"""`make bench-compaction`: what compaction makes of a directory, and what it costs.

Two tables: a scrape of L before and after all but eight of its processes are dead and folded; and
the folding of one dead worker more, as gunicorn's hook does it, by the number of those before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import multiprom
from compaction_worker import kill, template
from machine import about
from multiprom import _core
from scrape_contenders import MULTIPROM, STOCK
from scrape_directories import SIZES, Size
from scrape_probe import Probe
from scrape_table import write_elsewhere

LIVING = 8
# Seconds that the scrapes of one library may take in one turn: one of stock on L takes more.
TURN_SECONDS = 0.5
ROUNDS = 3
# How many have died before; each worker has so many series as one of L.
HISTORIES = (10, 100, 1_000, 10_000)
# So many workers die one after another at the end of each history, each folded and timed.
DEATHS = 21
# How many files are folded at once to make a history.
BATCH = 100


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", nargs="?", default="L", choices=SIZES, help="the directory")
    parser.add_argument("--most", type=int, default=HISTORIES[-1], help="the longest history")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), (STOCK, MULTIPROM)))
        directory = Path(parent, "directory")
        directory.mkdir()
        _progress(f"stock prometheus_client writes {size.files:,} files")
        write_elsewhere(directory, size)
        worker = template(directory, Path(parent, "worker"))
        _scrapes(directory, size)
        shutil.rmtree(directory)
        directory.mkdir()
        print("\n| died before | fold one more, median | slowest of 21 | files | archives |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        died = 0
        for history in HISTORIES:
            if history <= arguments.most:
                died = _history(directory, worker, died, history)
    print(
        f"\n- {size}.\n"
        f"- Fold one more: files of a worker with {size.entries_per_process:,} entries, all of "
        "which the archives have, as `child_exit` does it. The worker wrote long ago: one that "
        "wrote within the last 12 ms takes up to so much longer, in which nobody waits but the "
        "hook."
    )


def _scrapes(directory: Path, size: Size) -> None:
    before = _text_seconds(directory)
    dead = size.processes - LIVING
    _progress(f"folding {dead} processes")
    begin = time.perf_counter()
    # Those that prometheus_client wrote have to be named.
    done = multiprom.compact(directory, range(1000, 1000 + dead))
    seconds = time.perf_counter() - begin
    if done.processes != dead or done.left_alone:
        raise SystemExit(f"bench: the folding went wrong: {done}")
    after = _text_seconds(directory)
    print("\n| library | directory to text, all files | folded | before / after |")
    print("| --- | ---: | ---: | ---: |")
    for library in (STOCK, MULTIPROM):
        ratio = before[library] / after[library]
        print(
            f"| {library} | {before[library] * 1000:.2f} ms | {after[library] * 1000:.2f} ms "
            f"| {ratio:.0f}× |"
        )
    print(
        f"\nmultiprom, folded, against stock before: 1/{before[STOCK] / after[MULTIPROM]:,.0f}. "
        f"Folding the {dead} processes at once took {seconds:.2f} s."
    )


def _text_seconds(directory: Path) -> dict[str, float]:
    """Return the fastest scrape to text of each library, after comparing what they give."""
    probes = {library: Probe(library, directory) for library in (STOCK, MULTIPROM)}
    if sorted(probes[STOCK].text().splitlines()) != sorted(probes[MULTIPROM].text().splitlines()):
        raise SystemExit("bench: the text of multiprom has other lines than stock's")
    seconds = dict.fromkeys(probes, float("inf"))
    for turn in range(ROUNDS):
        _progress(f"scrapes, round {turn + 1} of {ROUNDS}")
        for library, probe in probes.items():
            seconds[library] = min(seconds[library], probe.seconds("text", TURN_SECONDS))
    for probe in probes.values():
        probe.close()
    return seconds


def _history(directory: Path, worker: Path, died: int, history: int) -> int:
    """Let so many workers die, then some more, whose folding is timed; return how many died."""
    while died < history:
        _progress(f"{died:,} of {history:,} workers have died")
        for _ in range(min(BATCH, history - died)):
            kill(worker, directory, died)
            died += 1
        multiprom.compact(directory)
    seconds = []
    for _ in range(DEATHS):
        kill(worker, directory, died)
        begin = time.perf_counter()
        # As the hook does it.
        done = _core.compact(str(directory), [str(died)], True, False, 0.0, None)
        seconds.append(time.perf_counter() - begin)
        died += 1
        if done[0] != 1:
            raise SystemExit(f"bench: the folding went wrong: {done}")
    median = statistics.median(seconds)
    sizes = [file.stat().st_size for file in directory.glob("*.db")]
    print(
        f"| {history:,} | {median * 1000:.2f} ms | {max(seconds) * 1000:.2f} ms "
        f"| {len(sizes)} | {sum(sizes) / 1024:,.0f} KiB |",
        flush=True,
    )
    return died


def _progress(message: str) -> None:
    """Tell on stderr what is going on: stdout is the table."""
    print(f"bench: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ["MULTIPROM_COMPACTION"] = "off"
    main()
