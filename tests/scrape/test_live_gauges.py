"""A live gauge is one of a living process: of a killed one it is gone at the very next scrape."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
import pytest
from support.files import Entry, write, write_ours
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

SCRIPT = """
import os, signal, sys
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

def worker():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        for mode in ("liveall", "livesum", "livemax", "livemin", "livemostrecent"):
            Gauge(mode, "Help", multiprocess_mode=mode).set(1)
        Counter("c", "Help").inc()
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    return pid

def names():
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry)
    text = generate_latest(registry).decode()
    found = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    assert found == {sample.name for metric in collector.collect() for sample in metric.samples}
    return sorted(found)

first, second = worker(), worker()
os.kill(first, 9)
os.waitpid(first, 0)
print(len(names()))
os.kill(second, 9)
os.waitpid(second, 0)
print(names())
"""


@pytest.mark.parametrize("compaction", ["on", "off"])
def test_gone_at_the_next_scrape(compaction: str, directory: Path) -> None:
    printed = run(SCRIPT, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION=compaction)
    assert printed == "6\n['c_total']\n"


def gauge_names() -> set[str]:
    return {metric.name for metric in multiprom.MultiProcessCollector(None).collect()}


def test_files_of_prometheus_client_stay_until_they_are_marked(directory: Path) -> None:
    """Its writer holds no lock, so nobody can tell whether it lives."""
    write(directory / "gauge_livesum_1.db", [Entry("g", "g", value=5)])
    assert gauge_names() == {"g"}
    multiprom.mark_process_dead(1)
    assert gauge_names() == set()


def test_of_files_that_a_program_names(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that merges files itself does not see the dead either."""
    files = [
        write_ours(directory / "gauge_livemax_1.db", Entry("dead", "dead", value=1)),
        write(directory / "gauge_livemax_2.db", [Entry("stock", "stock", value=2)]),
        write_ours(directory / "gauge_max_3.db", Entry("kept", "kept", value=3)),
        write_ours(directory / "gauge_livemax_4.db", Entry("held", "held", value=4)),
    ]
    seen: list[str] = []

    class Collector(multiprom.MultiProcessCollector):
        @staticmethod
        def merge(files: Iterable[str], accumulate: bool = True) -> list[Metric]:
            seen.extend(Path(file).name for file in files)
            return multiprom.MultiProcessCollector.merge(files, accumulate)

    with files[3].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        merged = multiprom.MultiProcessCollector.merge(files)
        assert {metric.name for metric in merged} == {"stock", "kept", "held"}
        read = multiprom.MultiProcessCollector._read_metrics(files)
        assert set(read) == {"stock", "kept", "held"}
        monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
        assert {metric.name for metric in Collector(None).collect()} == {"stock", "kept", "held"}
    assert sorted(seen) == ["gauge_livemax_2.db", "gauge_livemax_4.db", "gauge_max_3.db"]
    assert not [item for item in multiprom.left_out() if Path(item.path).parent == directory]


def test_a_scrape_does_not_cost_a_worker_its_name(directory: Path) -> None:
    """Whether a writer lives is asked by trying its lock, for an instant.

    A process that begins to write under that name at this instant must not take another.
    """
    script = """
import fcntl, os, sys, threading, time
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Gauge
path = os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], f"gauge_liveall_{os.getpid()}.db")
with open(path, "wb") as file:
    fcntl.flock(file, fcntl.LOCK_SH)
    timer = threading.Timer(0.01, fcntl.flock, (file, fcntl.LOCK_UN))
    timer.start()
    Gauge("g", "Help", multiprocess_mode="liveall").set(1)
    timer.join()
files = os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
print(sorted(name for name in files if name.endswith(".db")) == [os.path.basename(path)], messages)
"""
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == "True []\n"
