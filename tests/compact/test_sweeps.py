"""Where no hook tells who has died, whoever scrapes or begins to write folds what the dead left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = """
import os, sys
import multiprom
from multiprom import compaction
multiprom.install()
from prometheus_client import Counter, Gauge
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help")
live = Gauge("live", "Help", multiprocess_mode="livesum")

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}

def files():
    return sorted(name for name in os.listdir(directory) if name.endswith(".db"))

def in_child(act):
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    return os.waitpid(pid, 0)

def count():
    counter.inc(0.1)
    live.set(1)
"""


def test_a_scrape(directory: Path) -> None:
    script = """
for _ in range(50):
    in_child(count)
compaction._swept.clear()
found = scrape()
print(found["n_total"], "live" in found and found["live"])
print(len(files()), "counter_compacted.db" in files())
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    total = math.fsum([0.1] * 50)
    assert printed == f"{total!r} 0.0\n3 True\n"


def test_the_start_of_a_writer(directory: Path) -> None:
    script = """
for _ in range(20):
    in_child(count)
before = len(files())
compaction._swept.clear()
in_child(count)
print(before, len(files()), "counter_compacted.db" in files())
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    # 21 processes with two files each; then the parent, the last child, and the archive.
    assert printed == "42 5 True\n"


@pytest.mark.parametrize("off", ["off", "0"])
def test_neither_if_it_is_turned_off(off: str, directory: Path) -> None:
    script = """
for _ in range(5):
    in_child(count)
scrape()
print(len(files()))
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION=off
    )
    assert printed == "12\n"


def test_a_thousand_deaths(directory: Path) -> None:
    """No total ever falls, and the last is the exact sum."""
    script = """
import math
last = 0.0
most = 0
for number in range(1000):
    in_child(count)
    if number % 10 == 0:
        compaction._swept.clear()
        total = scrape()["n_total"]
        assert total == math.fsum([0.1] * (number + 1)), (number, total)
        assert total >= last
        last = total
        most = max(most, len(files()))
print(scrape()["n_total"], most)
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    total, most = printed.split()
    assert float(total) == math.fsum([0.1] * 1000)
    assert int(most) <= 40


def test_a_scrape_does_not_wait_for_the_sweep_of_a_writer(directory: Path) -> None:
    """What the writer has left to it, as it takes long, would stay where workers live shortly."""
    script = """
compaction._BYTES_AT_ONCE = 0
in_child(count)
compaction._swept.clear()
# Opens a file, and sweeps: live gauges go, which takes no time.
Gauge("late", "Help", multiprocess_mode="max").set(1)
print(sorted({name.rpartition("_")[0] for name in files()}), len(files()))
print(scrape()["n_total"], "counter_compacted.db" in files(), len(files()))
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    assert printed == "['counter', 'gauge_livesum', 'gauge_max'] 4\n0.1 True 4\n"
