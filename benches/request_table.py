"""`make bench`: what a whole request costs, wide families, gzip, locks and metrics of workers.

As in `scrape_table.py`, each library works in a process of its own, the libraries take turns, and
the fastest scrape counts.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from machine import about, print_table, progress
from scrape_contenders import MULTIPROM, STOCK, contender
from scrape_directories import SIZES, Shop, Size, in_own_process, write, write_wide
from scrape_probe import Probe

HEADER = ("what", "measured", STOCK, MULTIPROM, "stock / multiprom")

# Seconds that each turn may take, and turns.
TURN_SECONDS = 0.5
ROUNDS = 6
REQUESTS = ("S", "M")
SERIES = (100_000, 300_000)
WIDE_ROUNDS = 3
# A scrape is so short beside the noise of a machine that many turns are needed to tell 2 %.
LOCK_TURNS = 60
LOCK_TURN_SECONDS = 0.05
# Where prometheus_client's files have zeros and multiprom's writer says that it holds a lock.
MAGIC = slice(4, 8)

WORKER_METRICS = "MULTIPROM_WORKER_METRICS"

_spawn = multiprocessing.get_context("spawn")


def main() -> None:
    """Measure and print the table."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), (STOCK, MULTIPROM)))
        for name in REQUESTS:
            directory = _directory(parent, name, write, SIZES[name])
            rows += _requests(name, directory)
        rows += _gzip(directory)
        for series in SERIES:
            directory = _directory(parent, str(series), write_wide, series)
            rows += _wide(series, directory)
        rows += _living_processes(Path(parent, "living"))
    print_table(HEADER, rows)
    print()
    print(
        "- A request: `make_wsgi_app` with the headers of Prometheus 3, which asks for OpenMetrics "
        "and gzip.\n"
        "- One family: written by one process. Memory: growth of the peak resident memory of a "
        "fresh process in its first scrape to text.\n"
        "- Looking at locks: S, written by multiprom in processes that live; 8 of 32 files are of "
        "live gauges.\n"
        "- Worker metrics: the same 8 processes and 32 files, as docs/operating.md lists them."
    )


def _directory(parent: str, name: str, writer: Callable[..., None], what: object) -> Path:
    progress(f"{name}: writing")
    directory = Path(parent, name)
    directory.mkdir()
    in_own_process(writer, directory, what)
    return directory


def _fastest(directory: Path, what: str, rounds: int) -> tuple[float, float]:
    """Return the seconds of stock's fastest scrape and of multiprom's."""
    probes = [Probe(library, directory) for library in (STOCK, MULTIPROM)]
    seconds = [[probe.seconds(what, TURN_SECONDS) for probe in probes] for _ in range(rounds)]
    for probe in probes:
        probe.close()
    stock, ours = (min(column) for column in zip(*seconds, strict=True))
    return stock, ours


def _requests(name: str, directory: Path) -> list[list[str]]:
    progress(f"{name}: requests")
    stock, ours = _fastest(directory, "request", ROUNDS)
    return [_row(f"one request, {name}", stock, ours)]


def _gzip(directory: Path) -> list[list[str]]:
    """Compare the compression of one text alone."""
    from multiprom import _core

    progress("gzip")
    text = contender(STOCK, directory).text()
    seconds: tuple[list[float], list[float]] = ([], [])
    compressors: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, _core.gzip)
    for _ in range(ROUNDS * 10):
        for times, compress in zip(seconds, compressors, strict=True):
            start = time.perf_counter()
            compress(text)
            times.append(time.perf_counter() - start)
    sizes = [len(compress(text)) for compress in compressors]
    return [
        _row("gzip of the text of M", min(seconds[0]), min(seconds[1])),
        ["", "size", *(f"{size:,} bytes" for size in sizes), f"{sizes[0] / sizes[1]:.2f}×"],
    ]


def _wide(series: int, directory: Path) -> list[list[str]]:
    what = f"one family of {series:,} series"
    progress(what)
    memory = []
    for library in (STOCK, MULTIPROM):
        probe = Probe(library, directory)
        memory.append(probe.memory())
        probe.close()
    stock, ours = _fastest(directory, "text", WIDE_ROUNDS)
    in_mebibytes = (f"{added / 2**20:.1f} MiB" for added in memory)
    a_series = (f"{added / series:.0f} B" for added in memory)
    ratio = f"{memory[0] / memory[1]:.1f}×"
    return [
        _row(what, stock, ours),
        ["", "memory", *in_mebibytes, ratio],
        ["", "memory, a series", *a_series, ratio],
    ]


def _living_processes(directory: Path) -> list[list[str]]:
    """Measure what a scrape does besides reading files, in a directory of processes that live."""
    directory.mkdir()
    with _living(directory, SIZES["S"]):
        return [_lock(directory), _worker_metrics(directory)]


def _lock(directory: Path) -> list[str]:
    """Compare scrapes that look at the locks of live gauges with scrapes of files that have none.

    Both read the same files: only their magic, which says that there is a lock, comes and goes.
    """
    progress("locks")
    live = sorted(directory.glob("gauge_live*_*.db"))
    magics = [file.read_bytes()[MAGIC] for file in live]
    probe = Probe(MULTIPROM, directory)
    with_locks, without = [], []
    for _ in range(LOCK_TURNS):
        with_locks.append(probe.seconds("text", LOCK_TURN_SECONDS))
        _write_magics(live, [bytes(len(magic)) for magic in magics])
        without.append(probe.seconds("text", LOCK_TURN_SECONDS))
        _write_magics(live, magics)
    probe.close()
    cost = min(with_locks) / min(without) - 1
    return _with_and_without("text of S, looking at locks", with_locks, without, f"{cost:+.1%}")


def _worker_metrics(directory: Path) -> list[str]:
    """Compare scrapes with the metrics of workers and files with scrapes of the files alone."""
    progress("worker metrics")
    probes = []
    for switch in ("1", "0"):
        os.environ[WORKER_METRICS] = switch
        probes.append(Probe(MULTIPROM, directory))
    del os.environ[WORKER_METRICS]
    seconds = [
        [probe.seconds("text", LOCK_TURN_SECONDS) for probe in probes] for _ in range(LOCK_TURNS)
    ]
    for probe in probes:
        probe.close()
    shown, hidden = map(list, zip(*seconds, strict=True))
    cost = f"{(min(shown) - min(hidden)) * 1000:+.2f} ms"
    return _with_and_without("text of S, worker metrics", shown, hidden, cost)


def _with_and_without(
    what: str, with_it: list[float], without: list[float], cost: str
) -> list[str]:
    both = f"{_time(min(with_it))}, {_time(min(without))}"
    return [what, "time, with and without", "–", both, cost]


def _write_magics(files: list[Path], magics: list[bytes]) -> None:
    for file, magic in zip(files, magics, strict=True):
        with file.open("r+b") as stream:
            stream.seek(MAGIC.start)
            stream.write(magic)


@contextmanager
def _living(directory: Path, size: Size) -> Iterator[None]:
    """Let processes count with multiprom, and live meanwhile."""
    pipes = []
    for number in range(size.processes):
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(target=_live, args=(theirs, directory, size, number), daemon=True)
        process.start()
        theirs.close()
        pipes.append((ours, process))
    for pipe, _ in pipes:
        pipe.recv()
    yield
    for pipe, process in pipes:
        pipe.close()
        process.join()


def _live(pipe: Connection, directory: Path, size: Size, number: int) -> None:
    import multiprom

    multiprom.install(directory)
    Shop(size).count(number)
    pipe.send(None)
    try:
        pipe.recv()
    except EOFError:
        return


def _row(what: str, stock: float, ours: float) -> list[str]:
    return [what, "time", _time(stock), _time(ours), f"{stock / ours:.1f}×"]


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.{2 if seconds < 0.01 else 0}f} ms"


if __name__ == "__main__":
    main()
