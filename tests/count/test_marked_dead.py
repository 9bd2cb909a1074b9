"""A process that was told to be dead, by itself, does not bring its live gauges back.

LiteLLM and BentoML mark themselves when they shut down; what runs after that still sets gauges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

METRICS = """
import os
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
from prometheus_client import multiprocess

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
modes = sorted(multiprocess._LIVE_GAUGE_MULTIPROCESS_MODES)
assert len(modes) > 3

def live_files():
    return [file for file in os.listdir(directory) if file.startswith("gauge_live")]

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return sorted((s.name, s.value) for metric in collector.collect() for s in metric.samples)
"""


@pytest.mark.parametrize(
    "call",
    [
        "multiprocess.mark_process_dead(os.getpid())",
        "multiprocess.mark_process_dead(str(os.getpid()))",
        "multiprom.mark_process_dead(os.getpid(), directory)",
        "multiprom.mark_process_dead(os.getpid(), path=directory + '/')",
    ],
)
def test_its_live_gauges_stay_away(call: str, directory: Path) -> None:
    script = f"""
gauges = [Gauge(mode, "Help", multiprocess_mode=mode) for mode in modes]
kept = Gauge("kept", "Help", multiprocess_mode="max")
counter = Counter("n", "Help")
for metric in (*gauges, kept):
    metric.set(5)
counter.inc(5)
print(len(live_files()) == len(modes))

{call}
print(live_files())
for metric in (*gauges, kept):
    metric.set(7)
counter.inc(1)
late = Gauge("late", "Help", multiprocess_mode="liveall")
late.set(1)
for _ in range(2):
    print(scrape(), live_files())
# The process itself still knows them.
print({{gauge._value.get() for gauge in gauges}}, late._value.get())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "True",
        "[]",
        *["[('kept', 7.0), ('n_total', 6.0)] []"] * 2,
        "{7.0} 1.0",
    ]
    assert list(directory.glob("gauge_live*")) == []


def test_before_it_set_any(directory: Path) -> None:
    script = """
multiprocess.mark_process_dead(os.getpid())
Gauge("n", "Help", multiprocess_mode="livesum").set(1)
print(scrape(), live_files())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] []\n"


def test_another_process_is_marked(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(5)
multiprocess.mark_process_dead(os.getppid())
gauge.set(6)
print(scrape())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[('n', 6.0)]\n"


def test_a_child_of_it_lives(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(5)
multiprocess.mark_process_dead(os.getpid())
gauge.set(6)
if os.fork() == 0:
    gauge.set(1)
    os._exit(0)
child, status = os.wait()
names = [name for name in os.listdir(directory) if name[0] != "."]
print(status, names == [f"gauge_livesum_{child}.db"])
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "0 True\n"
    [file] = directory.glob("*.db")
    assert values_of(file) == {"n": 1.0}


def test_by_another_path_of_its_directory(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(1)
multiprom.mark_process_dead(os.getpid(), os.path.realpath(directory))
gauge.set(2)
print(scrape(), live_files())
"""
    link = directory.parent / "link"
    link.symlink_to(directory)
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=link) == "[] []\n"


def test_who_marks_others_gets_no_files(directory: Path) -> None:
    """Such as a child that only cleans up."""
    script = """
Counter("n", "Help").inc()
pid = os.fork()
if pid == 0:
    multiprom.mark_process_dead(99999)
    os._exit(0)
os.waitpid(pid, 0)
print(len([name for name in os.listdir(directory) if name[0] != "."]))
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "1\n"
