"""Threads that count at once lose nothing, whatever else happens to the files meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTING = """
import os, sys, threading
# Switch wherever it can be done.
sys.setswitchinterval(1e-6)
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client import values

counter = Counter("n", "Help", registry=None)
gauge = Gauge("g", "Help", registry=None, multiprocess_mode="sum")
histogram = Histogram("took", "Help", registry=None, buckets=[1, 2])
failures = []

def together(*functions):
    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(repr(error))
    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
"""


def test_six_threads_count_fifty_thousand_times(directory: Path) -> None:
    script = """
def count():
    for _ in range(50_000):
        counter.inc()

together(*[count] * 6)
print(counter._value.get())
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == "300000.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 300_000.0}


def test_while_files_grow_and_are_scraped(directory: Path) -> None:
    script = """
done = threading.Event()

def count():
    for number in range(20_000):
        counter.inc()
        gauge.inc(0.5)
        gauge.dec(0.25)
        histogram.observe(number % 3)

def make():
    for number in range(3000):
        value = values.ValueClass("counter", "m", "m", ["l"], ["x" * 300 + str(number)], "Help")
        value.inc(1)

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    before = 0
    while not done.is_set():
        found = {s.name: s.value for m in collector.collect() for s in m.samples}
        assert found["n_total"] >= before
        before = found["n_total"]

scraper = threading.Thread(target=scrape)
scraper.start()
together(count, count, count, make, make)
done.set()
scraper.join()
print(counter._value.get(), gauge._value.get(), histogram._sum.get())
print([bucket.get() for bucket in histogram._buckets])
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "60000.0 15000.0 59997.0",
        "[40002.0, 19998.0, 0.0]",
    ]
    for pattern, expected in (
        ("counter_*.db", {"n_total": 60_000.0}),
        ("gauge_*.db", {"g": 15_000.0}),
        ("histogram_*.db", {"took_sum": 59_997.0, "took_bucket 1.0": 40_002.0}),
    ):
        [file] = directory.glob(pattern)
        found = values_of(file)
        assert {name: found[name] for name in expected} == expected
        series = [value for name, value in found.items() if name.startswith("m ")]
        # Both threads made the same ones.
        assert series == [2.0] * (3000 if pattern.startswith("counter") else 0)


def test_while_files_are_closed(directory: Path) -> None:
    """Nothing is counted twice, and nothing falls between two files."""
    script = """
def count():
    for _ in range(20_000):
        counter.inc()

def close():
    for _ in range(200):
        values.ValueClass.close_all_files()

together(count, count, count, close)
counter.inc(0)
print(counter._value.get())
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == "60000.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 60_000.0}


def test_first_use_in_many_threads(directory: Path) -> None:
    """All make the same series at once: one file, one entry."""
    script = """
made = multiprom.MultiProcessValue()
barrier = threading.Barrier(20)

def count():
    barrier.wait()
    for number in range(20):
        made("counter", "m", "m", ["l"], [str(number)], "Help").inc(1)

together(*[count] * 20)
"""
    assert run(COUNTING + script, PROMETHEUS_MULTIPROC_DIR=directory) == ""
    [file] = directory.glob("counter_*.db")
    found = values_of(file)
    assert {name: value for name, value in found.items() if name.startswith("m ")} == {
        f"m {number}": 20.0 for number in range(20)
    }
    assert file.read_bytes().count(b'"m", {"l"') == 20
