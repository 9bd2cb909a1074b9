"""Files that come, grow and go while they are read: a scrape has all of a file or nothing.

A file that is gone between listing and opening is as if it had never been listed (425).
prometheus_client forgives it for `live*` gauges alone; but directories are cleaned, workers are
recycled, and containers stop, all while somebody scrapes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, Counter
from support import stock
from support.disks import private_mounts
from support.equality import samples
from support.files import Entry, counter, write
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


PREFIXES = ["counter", "histogram", "summary", "gauge_all", "gauge_liveall", "gauge_mostrecent"]


def here(directory: Path) -> list[str]:
    return [
        report.path for report in multiprom.left_out() if report.path.startswith(str(directory))
    ]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_of_any_type(directory: Path, prefix: str) -> None:
    kept = write(directory / "counter_1.db", [counter(3)])
    gone = directory / f"{prefix}_2.db"
    for names in ([kept, gone], [gone, kept], [gone, kept, gone]):
        merged = multiprom.MultiProcessCollector.merge(names)
        assert samples(merged) == {("requests_total", ()): 3}
        assert list(multiprom.MultiProcessCollector._read_metrics(names)) == ["requests"]
    # Nothing was wrong, so there is nothing to report.
    assert here(directory) == []


def test_all_of_them(directory: Path) -> None:
    gone = [directory / f"{prefix}_2.db" for prefix in PREFIXES]
    assert list(multiprom.MultiProcessCollector.merge(gone)) == []


def test_with_its_directory(directory: Path) -> None:
    """Nobody counts there: an empty page, as prometheus_client's."""
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry)
    reference = stock.MultiProcessCollector(CollectorRegistry())
    write(directory / "counter_1.db", [counter(3)])
    assert samples(collector.collect()) == {("requests_total", ()): 3}
    shutil.rmtree(directory)
    assert list(collector.collect()) == list(reference.collect()) == []
    assert multiprom.generate_latest(registry) == b""
    assert openmetrics_latest(registry) == b"# EOF\n"
    directory.mkdir()
    write(directory / "counter_1.db", [counter(4)])
    assert samples(collector.collect()) == {("requests_total", ()): 4}


def test_while_scraping(directory: Path) -> None:
    """Files come and go as fast as they can; what stays is in every scrape."""
    for pid in range(20):
        write(directory / f"counter_{pid}.db", [counter(1, "kept")])
    stop = threading.Event()
    failures: list[BaseException] = []

    def churn() -> None:
        try:
            while not stop.is_set():
                for prefix in PREFIXES:
                    path = directory / f"{prefix}_x.db"
                    write(path, [Entry("passing", "passing", {"p": prefix}, value=1, timestamp=1)])
                for prefix in PREFIXES:
                    (directory / f"{prefix}_x.db").unlink()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        registry = CollectorRegistry()
        collector = multiprom.MultiProcessCollector(registry)
        seen = set()
        for _ in range(300):
            found = samples(collector.collect())
            assert found["kept_total", ()] == 20
            seen.add(len(found))
            assert b"\nkept_total 20.0\n" in multiprom.generate_latest(registry)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    # Or nothing ever came and went in time, and this was no test.
    assert len(seen) > 1


# A file that comes and goes is in all families of a scrape or in none.
#
# Most families are merged while the files are read; some that need the order of entries are read
# once more. Both readings must have found the same files.

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


# A file that grows while it is read: a scrape sees what was published when it opened the file.
#
# Totals never fall from one scrape to the next, since Prometheus would take that for a restart.

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


# File times of whole seconds, as ext4 has them with inodes of 128 bytes.
#
# A compaction that was killed leaves the journal that names the files that it has deleted, by name,
# inode and time. ext4 gives a new file the inode of the one just deleted.

SCRIPT = """
import os, struct, subprocess, sys, time
from pathlib import Path
import multiprom
place, is_private = Path(sys.argv[1]), sys.argv[2]
if is_private and os.getuid() == 0:
    image = place.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    assert place.stat().st_mtime_ns % 1_000_000_000 == 0

def worker(directory, amount):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    if os.fork() == 0:
        value_class = multiprom.MultiProcessValue(lambda: "w")
        value = value_class("counter", "c", "c_total", (), (), "Help")
        value.inc(amount)
        os._exit(0)
    assert os.wait()[1] == 0
    return (directory / "counter_w.db").stat()

def total(directory):
    metrics = multiprom.MultiProcessCollector(None, str(directory)).collect()
    return sum(sample.value for metric in metrics for sample in metric.samples)

os.environ["MULTIPROM_COMPACTION"] = "off"
marks = []
for number in range(3):
    directory = place / str(number)
    directory.mkdir()
    time.sleep(-time.time() % 1)
    first = worker(directory, 100)
    assert multiprom.compact(directory).files_folded == 1
    # As if the compaction had been killed before its last step.
    with (directory / "counter_compacted.db").open("r+b") as archive:
        [used] = struct.unpack("i", archive.read(4))
        archive.seek(used)
        archive.write(b"MPjourn1")
    second = worker(directory, 23)
    assert total(directory) == 123, (number, total(directory), first, second)
    multiprom.compact(directory)
    assert total(directory) == 123, (number, total(directory), first, second)
    assert first.st_ino != second.st_ino
print("all")
"""


def test_a_new_file_is_never_taken_for_a_spent_one(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    within = private_mounts()
    assert run(SCRIPT, place, "1" if within else "", within=within) == "all\n"
