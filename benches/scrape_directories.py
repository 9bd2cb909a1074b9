"""The directories that `make bench` scrapes, written by stock prometheus_client."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

T = TypeVar("T", Counter, Gauge, Histogram)

# Series (label sets) of one family. A family of one series would make the HELP and TYPE
# lines weigh more than they do in a real service.
SERIES_PER_FAMILY = 10
# The buckets of prometheus_client with +Inf, and the sum: the count is made while merging.
ENTRIES_PER_HISTOGRAM = 16
FILES_PER_PROCESS = 4


@dataclass(frozen=True)
class Size:
    """How many processes wrote a directory, and how many series each of them has."""

    name: str
    processes: int
    counters: int
    histograms: int
    gauges_per_mode: int

    @property
    def entries_per_process(self) -> int:
        """How many entries the files of one process hold together."""
        return self.counters + self.histograms * ENTRIES_PER_HISTOGRAM + 2 * self.gauges_per_mode

    @property
    def entries(self) -> int:
        """How many entries the directory holds."""
        return self.processes * self.entries_per_process

    @property
    def files(self) -> int:
        """How many files the directory holds."""
        return self.processes * FILES_PER_PROCESS

    def __str__(self) -> str:
        """Return the line that explains the size under the table."""
        return (
            f"{self.name}: {self.processes} processes × ({self.counters} counters, "
            f"{self.histograms} histograms with the default buckets, {self.gauges_per_mode} "
            f"`livesum` and {self.gauges_per_mode} `mostrecent` gauges), "
            f"{self.entries:,} entries in {self.files:,} files"
        )


SIZES = {
    size.name: size
    for size in (
        Size("S", 8, 50, 50, 10),
        Size("M", 64, 200, 200, 20),
        Size("L", 500, 200, 200, 20),
    )
}


def _series(metric: Callable[[str], T], subject: str, count: int) -> list[T]:
    """Make `count` series in families of ten, with labels as a web service has them."""
    series: list[T] = []
    for family in range(count // SERIES_PER_FAMILY):
        parent = metric(f"shop_{subject}_{family}")
        for index in range(SERIES_PER_FAMILY):
            method = ("GET", "POST")[index % 2]
            series.append(parent.labels(method, f"/api/v1/{subject}/{index // 2}"))
    return series


class Shop:
    """The metrics of one size, counted in by whatever value class is at work."""

    def __init__(self, size: Size) -> None:
        registry = CollectorRegistry()
        labels = ("method", "endpoint")
        self._counters = _series(
            lambda name: Counter(
                f"{name}_total", f"Requests that {name} has answered.", labels, registry=registry
            ),
            "requests",
            size.counters,
        )
        self._histograms = _series(
            lambda name: Histogram(
                f"{name}_seconds", f"Seconds that {name} took to answer.", labels, registry=registry
            ),
            "latency",
            size.histograms,
        )
        self._in_flight = _series(
            lambda name: Gauge(
                name,
                f"Requests that {name} is at work on now.",
                labels,
                registry=registry,
                multiprocess_mode="livesum",
            ),
            "in_flight",
            size.gauges_per_mode,
        )
        self._refreshed = _series(
            lambda name: Gauge(
                name,
                f"Length of the queue of {name} when last seen.",
                labels,
                registry=registry,
                multiprocess_mode="mostrecent",
            ),
            "queue_length",
            size.gauges_per_mode,
        )

    def count(self, process: int) -> None:
        """Count what the process with this number counts."""
        for index, counter in enumerate(self._counters):
            counter.inc(process * 37 + index)
        for index, histogram in enumerate(self._histograms):
            histogram.observe((process * 13 + index * 7 + 1) % 12_000 / 1024)
        for index, gauge in enumerate(self._in_flight):
            gauge.set((process + index) % 5)
        for index, gauge in enumerate(self._refreshed):
            gauge.set(process * 11 + index + 0.5)


def in_own_process(writer: Callable[..., None], directory: Path, what: object) -> None:
    """Let a process of its own write, which does not leave its metrics behind here."""
    process = multiprocessing.get_context("spawn").Process(target=writer, args=(directory, what))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"bench: writing {directory.name} failed")
    # Writing back to a disk must be over before anything is timed.
    os.sync()


def write(directory: Path, size: Size) -> None:
    """Write `size` into the empty `directory`, all by prometheus_client's own value class.

    One process takes one identity after another. For prometheus_client each change of
    identity is a fork: it opens new files and writes every series at zero, as a pre-forked
    worker does. All values are multiples of 1/1024, so that their sums are exact in any
    order and the texts of two libraries can be compared byte by byte.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    identity = 1000
    values.ValueClass = values.MultiProcessValue(lambda: identity)
    shop = Shop(size)
    for process in range(size.processes):
        identity = 1000 + process
        shop.count(process)
    values.close_all_multiprocess_files()
    _check(directory, size)


def write_wide(directory: Path, series: int) -> None:
    """Write one family of so many series into the empty `directory`, by one process."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    values.ValueClass = values.MultiProcessValue()
    requests = Counter(
        "shop_requests",
        "Requests that the shop has answered.",
        ("method", "endpoint"),
        registry=CollectorRegistry(),
    )
    for index in range(series):
        requests.labels(("GET", "POST")[index % 2], f"/api/v1/orders/{index // 2}").inc(index)
    values.close_all_multiprocess_files()


def _check(directory: Path, size: Size) -> None:
    """Stop if the directory does not hold what the table will say of it."""
    from prometheus_client.mmap_dict import MmapedDict

    files: Sequence[Path] = list(directory.glob("*.db"))
    # The same code wrote all processes: counting the entries of one is enough.
    entries = sum(
        len(list(MmapedDict.read_all_values_from_file(file)))
        for file in files
        if file.stem.endswith("_1000")
    )
    if (len(files), entries) != (size.files, size.entries_per_process):
        message = f"{size.name} came out as {len(files)} files with {entries} entries each process"
        raise RuntimeError(message)
