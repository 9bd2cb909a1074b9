"""`make soak`: a service that runs for long, and what grows meanwhile: nothing may.

gunicorn answers a steady load, recycles its workers all the time, and loses some to SIGKILL.
Another process counts and scrapes beside it from begin to end. Memory, descriptors, files and the
time of a scrape must be at the end what they were when the service had warmed up, and the totals
must be exact. This prints tables, draws a picture, and ends with status 1 if anything grew or is
wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import about, print_table
from soak_service import (
    REQUESTS_PER_SECOND,
    SECONDS_BETWEEN_KILLS,
    WORKERS,
    Client,
    Scraper,
    Server,
    service,
)

MIB = 1 << 20
SAMPLES = 300
ROWS = 12
# The part of the time in which the service warms up, and what it needs at least.
WARM_UP = 0.2
WARM_UP_SECONDS = 20.0
# What is compared: the median of so much of the time after the warm-up, and of the last so much.
WINDOW = 0.2


@dataclass
class Sample:
    """What was seen at one moment, since the sample before."""

    minutes: float
    died: int
    answered: int
    master_memory: int
    worker_memory: int
    scraper_memory: int
    master_descriptors: int
    worker_descriptors: int
    scraper_descriptors: int
    files: int
    file_bytes: int
    scrape: float
    """Seconds, the median."""


@dataclass(frozen=True)
class Series:
    """One curve, with what it may grow by from its first window to its last."""

    name: str
    unit: str
    of: Callable[[Sample], float]
    ratio: float
    amount: float

    def windows(self, samples: Sequence[Sample]) -> tuple[float, float]:
        """Return the median after the warm-up, and that at the end."""
        begin = max(samples[-1].minutes * WARM_UP, WARM_UP_SECONDS / 60)
        warm = [sample for sample in samples if sample.minutes >= begin]
        width = max(1, int(len(samples) * WINDOW))
        first, last = warm[:width], warm[-width:]
        return statistics.median(map(self.of, first)), statistics.median(map(self.of, last))

    def grew(self, samples: Sequence[Sample]) -> bool:
        """Say whether the last window has more than is allowed."""
        begin, end = self.windows(samples)
        return end > begin * self.ratio + self.amount


# An allocator may keep a mebibyte. A leak of a kilobyte for each dead worker or each scrape is more
# than that after a quarter of an hour. The machine may do other work, so times may differ by half.
SERIES = (
    Series("memory of the master", "MiB", lambda s: s.master_memory / MIB, 1, 1),
    Series("memory of a worker", "MiB", lambda s: s.worker_memory / MIB, 1, 1),
    Series("memory of the scraper", "MiB", lambda s: s.scraper_memory / MIB, 1, 1),
    Series("descriptors of the master", "", lambda s: s.master_descriptors, 1, 2),
    Series("descriptors of a worker", "", lambda s: s.worker_descriptors, 1, 2),
    Series("descriptors of the scraper", "", lambda s: s.scraper_descriptors, 1, 2),
    Series("files", "", lambda s: s.files, 1, 10),
    Series("room of the files", "KiB", lambda s: s.file_bytes / 1024, 1, 256),
    Series("a scrape", "ms", lambda s: s.scrape * 1000, 1.5, 0.5),
)


def main() -> int:
    """Run the service, print the table, draw the picture, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--picture", type=Path, help="a PNG file to be written")
    arguments = parser.parse_args()
    if arguments.minutes < 1:
        parser.error("less than a minute shows nothing: the service has to warm up")
    if not sys.platform.startswith("linux"):
        parser.error("it reads /proc, so it needs Linux")
    with tempfile.TemporaryDirectory(prefix="multiprom-soak-") as workspace:
        print(about(Path(workspace), ("prometheus_client", "gunicorn", "multiprom")))
        print(
            f"{WORKERS} workers, {REQUESTS_PER_SECOND} requests a second, a worker killed every "
            f"{SECONDS_BETWEEN_KILLS:g} s, {arguments.minutes:g} minutes.",
            flush=True,
        )
        samples, problems = run(Path(workspace), arguments.minutes * 60)
    print_table(*table(samples), texts=1)
    print_table(("", "after the warm-up", "at the end"), list(growth(samples)), texts=1)
    problems += [f"{series.name} grew" for series in SERIES if series.grew(samples)]
    if arguments.picture:
        from soak_picture import draw

        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(samples, arguments.picture)
        print(f"\nThe picture: {arguments.picture}")
    print()
    print(*(problems or ["Nothing grew, and the totals are exact."]), sep="\n")
    return 1 if problems else 0


def run(workspace: Path, seconds: float) -> tuple[list[Sample], list[str]]:
    """Run the service for so long; return what was seen, and what was wrong."""
    samples = []
    killed = 0
    with service(workspace) as (server, scraper, directory):
        client = Client(server)
        begin = time.monotonic()
        try:
            step = max(1.0, seconds / SAMPLES)
            next_sample, next_kill = begin + step, begin + SECONDS_BETWEEN_KILLS
            while next_sample <= begin + seconds:
                time.sleep(max(0.0, min(next_sample, next_kill) - time.monotonic()))
                now = time.monotonic()
                if now >= next_kill:
                    killed += server.kill_one()
                    next_kill += SECONDS_BETWEEN_KILLS
                if now >= next_sample:
                    next_sample += step
                    samples += look(server, scraper, client, directory, now - begin)
        finally:
            client.stop()
        # Two scrapes that began after the last answer.
        done = scraper.scrapes + 2
        while scraper.scrapes < done and scraper.process.poll() is None:
            time.sleep(0.05)
    return samples, wrong_totals(server, scraper, client, killed)


def look(
    server: Server, scraper: Scraper, client: Client, directory: Path, seconds: float
) -> list[Sample]:
    """Return what is there now; nothing if no worker or no scrape can be seen at this moment."""
    workers = [(memory(pid), descriptors(pid)) for pid in server.workers()]
    scrapes = scraper.take_seconds()
    if not any(bytes_ for bytes_, _ in workers) or not scrapes:
        return []
    files = [path.lstat() for path in directory.glob("*.db") if path.exists()]
    return [
        Sample(
            minutes=seconds / 60,
            died=server.died,
            answered=client.answered,
            master_memory=memory(server.process.pid),
            worker_memory=max(bytes_ for bytes_, _ in workers),
            scraper_memory=memory(scraper.process.pid),
            master_descriptors=descriptors(server.process.pid),
            worker_descriptors=max(number for _, number in workers),
            scraper_descriptors=descriptors(scraper.process.pid),
            files=len(files),
            file_bytes=sum(file.st_blocks * 512 for file in files),
            scrape=statistics.median(scrapes),
        )
    ]


def memory(pid: int) -> int:
    """Return the resident bytes of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def descriptors(pid: int) -> int:
    """Return how many files a process has open; 0 if it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return 0


def wrong_totals(server: Server, scraper: Scraper, client: Client, killed: int) -> list[str]:
    """Print the totals, and return what is wrong with them and in the logs."""
    counted = scraper.counted
    print(
        f"\n{server.died:,} workers died, {killed:,} of them by SIGKILL. "
        f"{client.sent:,} requests sent, {client.answered:,} answered; counted: "
        + ", ".join(f"{number:,} {name}" for name, number in counted.items())
        + f"; {scraper.scrapes:,} scrapes beside the server and {client.scraped:,} of /metrics."
    )
    problems = [
        f"{name}: {counted.get(name, 0):,} were counted, {client.answered:,} of "
        f"{client.sent:,} answered"
        for name in ("requests", "observed", "summed up")
        # A worker may be killed after it has counted and before it has answered.
        if not client.answered <= counted.get(name, 0) <= client.sent
    ]
    if client.sent - client.answered > killed:
        problems.append(f"{client.sent - client.answered:,} requests had no answer")
    if counted.get("scrapes") != scraper.scrapes:
        problems.append(f"{counted.get('scrapes')} of {scraper.scrapes:,} scrapes were counted")
    return problems + scraper.falls + client.failed_scrapes + server.unexpected


def table(samples: Sequence[Sample]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return the header and some rows."""
    shown = [samples[len(samples) * (row + 1) // ROWS - 1] for row in range(ROWS)]
    header = ("minutes", "workers that died", "requests answered")
    rows = [
        (
            f"{sample.minutes:.1f}",
            f"{sample.died:,}",
            f"{sample.answered:,}",
            *(_text(series, series.of(sample)) for series in SERIES),
        )
        for sample in shown
    ]
    return (*header, *(series.name for series in SERIES)), list(rows)


def growth(samples: Sequence[Sample]) -> list[Sequence[str]]:
    """Return a row for each series."""
    return [
        (series.name, *(_text(series, value) for value in series.windows(samples)))
        for series in SERIES
    ]


def _text(series: Series, value: float) -> str:
    digits = {"MiB": 1, "ms": 2}.get(series.unit, 0)
    return f"{value:,.{digits}f} {series.unit}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
