"""What is counted in memory for want of a file, or is not for want of memory.

What becomes of it around closes and drops, and in scrapes.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.disks import run_with_disk
from support.files import values_of
from support.folders import let_others_reach
from support.interpreters import command, environment, run

if TYPE_CHECKING:
    from pathlib import Path


# The directory is missing at first.
IN_TROUBLE = """
import gc, os, pathlib, sys
from support.scripts import scrape
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
from multiprom import _core
directory = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
"""


def test_a_close_does_not_lose_it(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
counter.inc(5)
values.ValueClass.close_all_files()
directory.mkdir()
print(scrape(), counter._value.get())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "{'n_total': 5.0} 5.0\n"


def test_a_series_made_again_goes_on_from_the_dropped_one(directory: Path) -> None:
    script = """
import warnings
warnings.simplefilter("ignore")
gauge = Gauge("g", "Help", ["a"], multiprocess_mode="max")
counter = Counter("n", "Help", ["a"])
for metric, last in ((gauge, 7), (counter, 2)):
    (metric.labels("x").set if metric is gauge else metric.labels("x").inc)(5)
    metric._metrics.clear()
    gc.collect()
    (metric.labels("x").set if metric is gauge else metric.labels("x").inc)(last)
print(gauge.labels("x")._value.get(), counter.labels("x")._value.get())
directory.mkdir()
print(scrape())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "7.0 7.0\n{'n_total': 7.0, 'g': 7.0}\n"


def test_a_class_that_is_dropped_writes_it(directory: Path) -> None:
    script = """
made = multiprom.MultiProcessValue(lambda: "a")
value = made("counter", "n", "n_total", (), (), "Help")
value.inc(5)
values._multi_process_cleanups = []
directory.mkdir()
del made, value
gc.collect()
print(scrape())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "{'n_total': 5.0}\n"


def test_each_trouble_is_told_once(directory: Path) -> None:
    script = """
import shutil
counter = Counter("n", "Help")
counter.inc(5)
for _ in range(3):
    shutil.rmtree(directory)
    # A file in the way: the directory cannot be made anew.
    directory.write_text("")
    for number in range(5):
        _core.write_unwritten()
        counter.inc(1)
    print(len(messages), end=" ")
    directory.unlink()
    print(scrape()["n_total"], len(messages))
"""
    (directory / "there").mkdir()
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=directory / "there")
    assert printed == "1 10.0 2\n3 15.0 4\n5 20.0 6\n"


# Where nothing can be written, a scrape of the counting process has its own counts still.

COUNT = """
counter = Counter("c", "Help", ["l"])
counter.labels("x").inc(3)
histogram = Histogram("h", "Help", buckets=[1])
histogram.observe(0.5)
gauges = {}
for mode in ("all", "liveall", "sum", "livesum", "min", "max", "mostrecent"):
    gauges[mode] = Gauge(f"g_{mode}", "Help", multiprocess_mode=mode)
    gauges[mode].set(4)
"""
CHECK = """
found = scrape()
assert found["c_total"] == 3 and found["h_count"] == 1 and found["h_bucket"] == 1, found
assert all(found[f"g_{mode}"] == 4 for mode in gauges), found
from prometheus_client import CollectorRegistry, generate_latest
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry)
assert 'c_total{l="x"} 3.0' in generate_latest(registry).decode()
"""


def test_full(tmp_path: Path) -> None:
    after = """
print(len(messages))
disk.free()
counter.labels("x").inc(1)
until(lambda: scrape()["c_total"] == 4)
assert sum(written("counter_*.db").values()) == 4
"""
    assert run_with_disk("disk.fill()\n" + COUNT + CHECK + after, tmp_path / "disk") == "1\n"


@pytest.mark.parametrize("mode", [0o555, 0o755])
def test_not_writable(mode: int, directory: Path) -> None:
    """A directory of root's, and a process of somebody without rights."""
    beginning = """
from support.scripts import become_nobody, scrape
from support.warned import messages
import multiprom
multiprom.install()
import prometheus_client.multiprocess
become_nobody()
from prometheus_client import Counter, Gauge, Histogram
"""
    let_others_reach(directory.parent)
    directory.chmod(mode if os.getuid() == 0 else 0o555)
    done = subprocess.run(
        command(beginning + COUNT + CHECK + "print(len(messages))"),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    directory.chmod(0o755)
    assert (done.stdout, done.stderr) == ("1\n", "")


# A process at the limit of its memory: MemoryError where a series is made, and it lives on.


@pytest.mark.parametrize("room", [1 << 18, 1 << 20, 3 << 20])
def test_no_memory_for_more_series(room: int, directory: Path) -> None:
    printed = run(
        """
        import gc, os, resource, sys
        import multiprom
        multiprom.install()
        from prometheus_client import values
        # That of Python without a GIL needs memory itself, and says so if there is none.
        gc.disable()

        def made(number):
            value = values.ValueClass("counter", "m", "m", ("l",), (str(number),), "Help")
            value.inc(number)
            return value

        kept = [None] * 200_000
        # So many that a table is large when it grows.
        kept[:50_000] = map(made, range(50_000))
        with open("/proc/self/statm") as sizes:
            reserved = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = reserved + int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        count, refused = 50_000, 0
        while refused < 1000 and count < len(kept):
            try:
                kept[count] = made(count)
            except MemoryError:
                refused += 1
            else:
                count += 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept[count] = made(count)
        multiprom.MultiProcessCollector(None).collect()
        print(refused, count + 1)
        """,
        str(room),
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    refused, count = map(int, printed.split())
    assert refused == 1000
    [file] = directory.glob("counter_*.db")
    found = values_of(file)
    # One that was refused where it should count is there, at 0.
    assert sum(found.values()) == sum(range(count))
