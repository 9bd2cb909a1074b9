"""A file that grows while it is read: a scrape sees what was published when it opened the file.

Totals never fall from one scrape to the next, since Prometheus would take that for a restart.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import multiprom
from prometheus_client import CollectorRegistry, Counter
from support import stock
from support.equality import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRITER = """
import sys
from prometheus_client import Counter, Histogram

total = Counter("requests", "Help", registry=None)
paths = Counter("paths", "Help", ["path"], registry=None)
took = Histogram("took", "Help", registry=None)
print("ready", flush=True)
sys.stdin.readline()
for n in range(10**9):
    total.inc()
    took.observe(n % 12)
    if n % 10 == 0:
        # Long enough for the file to double some times.
        paths.labels("x" * (n % 500) + str(n % 20000)).inc()
"""


@contextmanager
def writers(directory: Path, count: int) -> Iterator[Callable[[], None]]:
    """Start processes that have made their metrics; they count from when the result is called."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER],
            env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"

        def begin() -> None:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()

        yield begin
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_totals_never_fall(directory: Path) -> None:
    collector = multiprom.MultiProcessCollector(None)
    with writers(directory, 2) as begin:
        before = samples(collector.collect())
        first = before
        begin()
        scrapes = 0
        while scrapes < 150 or len(before) == len(first):
            scrapes += 1
            found = samples(collector.collect())
            fallen = {key for key, value in before.items() if not found.get(key, -1) >= value}
            assert fallen == set()
            before = found
    assert before["requests_total", ()] > first["requests_total", ()]
    assert len(before) > len(first)
    # Nothing of it is damage.
    assert [report for report in multiprom.left_out() if str(directory) in report.path] == []
    after = samples(collector.collect())
    assert all(after[key] >= value for key, value in before.items())
    assert after == samples(stock.MultiProcessCollector(None).collect())


def test_buckets_and_count_agree(directory: Path) -> None:
    """In a histogram that is being written, the last bucket and `_count` are one number."""
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    with writers(directory, 1) as begin:
        begin()
        for _ in range(100):
            lines = dict(
                line.rsplit(b" ", 1)
                for line in multiprom.generate_latest(registry).splitlines()
                if line.startswith(b"took")
            )
            assert lines[b'took_bucket{le="+Inf"}'] == lines[b"took_count"]
            buckets = [
                float(value) for name, value in lines.items() if name.startswith(b"took_bucket")
            ]
            assert buckets == sorted(buckets)


def test_a_writer_in_the_same_process(directory: Path) -> None:
    """As in a server with threads that serves its own metrics."""
    stop = threading.Event()
    with stock.process(directory, 1):
        counter = Counter("requests", "Help", ["n"], registry=None)

        def count() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                counter.labels(str(n % 3000)).inc()

        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            registry = CollectorRegistry()
            multiprom.MultiProcessCollector(registry)
            totals = [
                sum(
                    float(line.rsplit(b" ", 1)[1])
                    for line in multiprom.generate_latest(registry).splitlines()
                    if not line.startswith(b"#")
                )
                for _ in range(100)
            ]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert totals == sorted(totals)
    assert totals[-1] > totals[0]
