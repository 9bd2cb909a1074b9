"""install() after uninstall(), and into another directory than prometheus_client writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRAPE = """
import os, sys
import multiprom
from prometheus_client import Counter, Gauge, Histogram

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}
"""


def test_what_was_given_back_counts_once(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
histogram = Histogram("h", "Help", buckets=[1])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5); histogram.observe(0.1); gauge.set(3)
for number in range(3):
    multiprom.install(sys.argv[1])
    counter.inc(1)
    found = scrape()
    print(found["n_total"], found["h_sum"], found["g"])
    multiprom.uninstall()
    counter.inc(1)
print(counter._value.get())
"""
    printed = run(SCRAPE + script, directory)
    assert printed == "6.0 0.1 3.0\n8.0 0.1 3.0\n10.0 0.1 3.0\n11.0\n"


def test_from_the_directory_of_prometheus_client_to_another(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5); gauge.set(3)
multiprom.install(sys.argv[1])
counter.inc(1)
print(scrape())
"""
    first, second = directory / "first", directory / "second"
    first.mkdir()
    printed = run(SCRAPE + script, second, PROMETHEUS_MULTIPROC_DIR=first)
    assert printed == "{'n_total': 6.0, 'g': 3.0}\n"


def test_in_the_child_of_a_fork(directory: Path) -> None:
    """What uninstall() gave back is in the parent's file, and must not be in the child's too."""
    script = """
import os, sys
import multiprom
from prometheus_client import Counter
counter = Counter("n", "Help")
multiprom.install(sys.argv[1])
counter.inc(100)
multiprom.uninstall()
counter.inc(2)
if os.fork() == 0:
    multiprom.install(sys.argv[1])
    counter.inc(1)
    os._exit(0)
os.wait()
print(multiprom.generate_latest(multiprom.MultiProcessCollector(None, sys.argv[1])).decode())
"""
    # What was counted between is in memory, and so both processes' own.
    assert "n_total 103.0\n" in run(script, directory)
