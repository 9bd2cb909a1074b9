"""`make bench-count`: one table of what counting costs with each library.

Each library does each operation in a process of its own. The processes take turns, so that a busy
machine is busy for all of them.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from count_contenders import (
    IN_MEMORY,
    LIBRARIES,
    MULTIPROM,
    OPERATIONS,
    REPETITIONS,
    SERIES_PER_SAMPLE,
    STOCK,
    is_measured,
)
from count_probe import Probe
from machine import about, print_table, progress

HEADER = (
    "counting",
    "library",
    "fastest",
    "median",
    "this / stock, multiprocess",
    "this / stock, in memory",
)

ROUNDS = 8
# Seconds that each turn may take.
TURN_SECONDS = 0.25


def main() -> None:
    """Measure all operations and print the table."""
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), ("prometheus_client", MULTIPROM)))
        rows = []
        for operation in OPERATIONS:
            rows += _rows(operation, _measure(operation, Path(parent)))
    print_table(HEADER, rows)
    print()
    print(
        f"- Times: of one operation, as the mean of {REPETITIONS:,} ({SERIES_PER_SAMPLE:,} for new "
        f"series, 1 after a fork); the fastest and the median of all such samples in {ROUNDS} "
        "rounds in which the libraries take turns. Ratios are those of the fastest.\n"
        "- After a fork the first operation writes all series of the process into files of the "
        "child."
    )


def _measure(operation: str, parent: Path) -> dict[str, list[float]]:
    """Return the samples of each library that knows the operation."""
    probes = {}
    for library in LIBRARIES:
        if is_measured(library, operation):
            directory = Path(tempfile.mkdtemp(dir=parent))
            probes[library] = Probe(library, operation, directory)
    samples: dict[str, list[float]] = {library: [] for library in probes}
    for turn in range(ROUNDS):
        progress(f"{operation}: round {turn + 1} of {ROUNDS}")
        for library, probe in probes.items():
            samples[library] += probe.samples(TURN_SECONDS)
    for probe in probes.values():
        probe.close()
    return samples


def _rows(operation: str, samples: dict[str, list[float]]) -> list[list[str]]:
    """Return the lines of the table for one operation."""
    return [
        [
            operation,
            library,
            _seconds(min(found)),
            _seconds(statistics.median(found)),
            _ratio(found, samples.get(STOCK)),
            _ratio(found, samples.get(IN_MEMORY)),
        ]
        for library, found in samples.items()
    ]


def _seconds(seconds: float) -> str:
    """Return a time with three digits, in the unit that suits it."""
    unit, value = next(
        (unit, seconds * times)
        for unit, times in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))
        if seconds * times >= 1 or unit == "ns"
    )
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _ratio(numerator: list[float], denominator: list[float] | None) -> str:
    """Return the ratio of the fastest."""
    return f"{min(numerator) / min(denominator):.2f}" if denominator else "–"


if __name__ == "__main__":
    main()
