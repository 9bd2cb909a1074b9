"""`make bench`: one table of what a scrape costs with each library, beside the reading floor.

Each library works in a process of its own. The timed scrapes take turns (stock, speedups,
multiprom, the floor, and again), so that a busy machine is busy for all of them, and the
fastest counts. Before anything is measured, multiprom's text must equal stock's byte for byte.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from machine import about, print_table, progress
from scrape_contenders import LIBRARIES, MULTIPROM, ONE_THREAD, SPEEDUPS, STOCK
from scrape_directories import SIZES, Size, in_own_process, write
from scrape_probe import Probe, idle_stall

FLOOR = "reading floor"

HEADER = (
    "directory",
    "library",
    "`collect()`",
    "stock / this",
    "directory to text",
    "stock / this",
    "this / floor",
    "memory added",
    "longest stall",
)

# Seconds that each turn may take: one scrape of stock on L takes more, and is then the only one.
TURN_SECONDS = 0.5
# Every library is watched for the same time, and so meets the same share of the machine's noise.
# What a library does to other threads it does in each window; what the machine does, not.
STALL_SECONDS = 1.0
STALL_WINDOWS = 4
# Turns, and readings of the floor in each turn.
ROUNDS = {"S": (9, 100), "M": (6, 20), "L": (3, 6)}


@dataclass
class Result:
    """What one library showed on one directory; what could not be measured is None."""

    library: str
    missing: str = ""
    collect: list[float] = field(default_factory=list)
    text: list[float] = field(default_factory=list)
    memory: int | None = None
    stall: float | None = None


def main() -> None:
    """Measure the sizes asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help="S, M or L; all of them if none")
    parser.add_argument("--floor", type=Path, required=True, help="the example reading_floor")
    arguments = parser.parse_args()
    unknown = set(arguments.sizes) - set(SIZES)
    if unknown:
        parser.error(f"no such size: {', '.join(sorted(unknown))}")

    rows = []
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), (STOCK, SPEEDUPS, MULTIPROM)))
        sizes = [SIZES[name] for name in arguments.sizes or SIZES]
        for size in sizes:
            directory = Path(parent, size.name)
            directory.mkdir()
            progress(f"{size.name}: stock prometheus_client writes {size.files:,} files")
            in_own_process(write, directory, size)
            rows += _rows(size, _measure(directory, size, arguments.floor))
            # The files of one size must not take the page cache of the next.
            for file in directory.iterdir():
                file.unlink()
    print_table(HEADER, rows)
    print()
    for size in sizes:
        print(f"- {size}.")
    print(
        "- Times: the fastest scrape of several rounds in which the libraries take turns.\n"
        "- Memory added: growth of the peak resident memory of a fresh process in its first "
        "scrape to text.\n"
        "- Longest stall: the longest time in which a thread that wakes every 0.5 ms did not "
        f"run while another scraped to text for {STALL_SECONDS:.0f} s, at least once; the "
        f"calmest of {STALL_WINDOWS} such windows. In the row of the floor: beside a thread that "
        "sleeps."
    )


def _measure(directory: Path, size: Size, floor: Path) -> list[Result]:
    """Measure all libraries on a directory; the last result is the floor."""
    progress(f"{size.name}: comparing the texts")
    _compare(directory, size)

    results = [Result(library) for library in LIBRARIES]
    for result in results:
        progress(f"{size.name}: memory and stalls, {result.library}")
        _in_fresh_processes(directory, result)

    rounds, readings = ROUNDS[size.name]
    probes = [
        (result, Probe(result.library, directory)) for result in results if not result.missing
    ]
    idle = min(idle_stall(STALL_SECONDS) for _ in range(STALL_WINDOWS))
    floor_result = Result(FLOOR, stall=idle)
    for turn in range(rounds):
        progress(f"{size.name}: round {turn + 1} of {rounds}")
        for result, probe in probes:
            result.collect.append(probe.seconds("collect", TURN_SECONDS))
        for result, probe in probes:
            result.text.append(probe.seconds("text", TURN_SECONDS))
        floor_result.text.append(_read_all(floor, directory, readings))
    for _, probe in probes:
        probe.close()
    return [*results, floor_result]


def _in_fresh_processes(directory: Path, result: Result) -> None:
    """Measure what the scrapes before would disturb: memory and stalls."""
    probe = Probe(result.library, directory)
    result.missing = probe.missing
    if not result.missing:
        result.memory = probe.memory()
        # On one core the scrape and the other thread wait for each other, whatever the library.
        if result.library != ONE_THREAD:
            result.stall = min(probe.stall(STALL_SECONDS) for _ in range(STALL_WINDOWS))
    probe.close()


def _compare(directory: Path, size: Size) -> None:
    """Stop unless multiprom's text is stock's, byte for byte; tell if the speedups' is not."""
    texts: dict[str, bytes] = {}
    for library in (STOCK, SPEEDUPS, MULTIPROM):
        probe = Probe(library, directory)
        if not probe.missing:
            texts[library] = probe.text_of_stock() if library == STOCK else probe.text()
        probe.close()

    stock = texts[STOCK].splitlines()
    if MULTIPROM in texts and texts[MULTIPROM] != texts[STOCK]:
        ours = texts[MULTIPROM].splitlines()
        for number, (expected, got) in enumerate(zip(stock, ours, strict=False), start=1):
            if expected != got:
                raise SystemExit(
                    f"bench: {size.name}: line {number} of multiprom's text differs\n"
                    f"  stock:     {expected.decode()}\n  multiprom: {got.decode()}"
                )
        raise SystemExit(f"bench: {size.name}: {len(stock)} lines from stock, {len(ours)} from us")
    # It has no order of its own, so only the lines can be compared.
    if SPEEDUPS in texts and sorted(texts[SPEEDUPS].splitlines()) != sorted(stock):
        progress(f"{size.name}: the text of {SPEEDUPS} has other lines than stock's")


def _read_all(floor: Path, directory: Path, readings: int) -> float:
    """Return the seconds of the fastest of some readings of every used byte."""
    command = [str(floor), str(directory), str(readings)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _rows(size: Size, results: list[Result]) -> list[list[str]]:
    """Return the lines of the table for one directory."""
    stock, floor = results[0], results[-1]
    rows = []
    for result in results:
        if result.missing:
            dashes = ["–"] * (len(HEADER) - 3)
            rows.append([size.name, result.library, f"not installed: {result.missing}", *dashes])
            continue
        rows.append(
            [
                size.name,
                result.library,
                _seconds(min(result.collect, default=None)),
                _ratio(stock.collect, result.collect),
                _seconds(min(result.text)),
                "–" if result is floor else _ratio(stock.text, result.text),
                _ratio(result.text, floor.text),
                "–" if result.memory is None else f"{result.memory / 2**20:.1f} MiB",
                _seconds(result.stall),
            ]
        )
    return rows


def _seconds(seconds: float | None) -> str:
    """Return a time with three digits, in the unit that suits it."""
    if seconds is None:
        return "–"
    unit, value = ("s", seconds) if seconds >= 1 else ("ms", seconds * 1000)
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _ratio(numerator: list[float], denominator: list[float]) -> str:
    """Return how many times the second fits into the first."""
    if not numerator or not denominator:
        return "–"
    ratio = min(numerator) / min(denominator)
    return f"{ratio:.{2 if ratio < 10 else 0}f}×"


if __name__ == "__main__":
    main()
