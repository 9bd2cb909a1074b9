"""A process may be called anything, and what its files are called says who it was."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import stock
from support.equality import samples
from support.files import Entry, counter, write
from support.processes import Instrument, Process, Series
from support.processes import write as write_processes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "identifier",
    [
        "1",
        "worker_a_1",
        "_",
        "a__b",
        "trailing_",
        "all_1",
        "gauge_all_1",
        "3f2b8a0e-6a53-4c8e-9d42-0d6d0a9b7c11",
        "test_collect[counter-1]",
        "a.db",
        "ünïcode 字",
        "*?[!x]",
        "-1",
        "'\"\\",
    ],
)
@pytest.mark.parametrize("mode", ["all", "liveall"])
def test_pid_label(directory: Path, identifier: str, mode: str) -> None:
    """prometheus_client cuts the identifier at its first underscore; it is whole here."""
    gauge = Instrument("gauge", "jobs", "Help", (), (Series((), (3.0,)),), mode=mode)
    write_processes(directory, [Process(identifier, (gauge,))])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {("jobs", (("pid", identifier),)): 3.0}


def test_identifiers_that_are_equal_before_the_underscore(directory: Path) -> None:
    """With prometheus_client the two overwrite each other."""
    for worker in ("worker_1", "worker_2"):
        write(directory / f"gauge_all_{worker}.db", [Entry("jobs", "jobs", value=int(worker[-1]))])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {
        ("jobs", (("pid", "worker_1"),)): 1,
        ("jobs", (("pid", "worker_2"),)): 2,
    }


@pytest.mark.parametrize("prefix", ["counter", "gauge_sum", "gauge_livesum"])
def test_without_pid_label(directory: Path, prefix: str) -> None:
    entry = counter(2) if prefix == "counter" else Entry("requests", "requests_total", value=2)
    for identifier in ("a_1", "a_2", "a"):
        write(directory / f"{prefix}_{identifier}.db", [entry])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {("requests_total", ()): 6}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such file names")
@pytest.mark.parametrize("identifier", [b"w\xff", b"\xc3", b"a_\x80_1"])
def test_identifiers_that_are_not_utf8(directory: Path, identifier: bytes) -> None:
    """Not one count is lost; a label must be text, so there the bytes in question are replaced."""
    series = (Series((), (3.0,)),)
    instruments = tuple(
        Instrument(kind, kind, "Help", (), series, mode=mode, buckets=(1.0, 5.0))
        for kind, mode in (("counter", ""), ("summary", ""), ("histogram", ""), ("gauge", "all"))
    )
    write_processes(directory, [Process(os.fsdecode(identifier), instruments)])
    assert len(stock.files_of(directory)) == 4
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry, directory)
    expected = {
        ("counter_total", ()): 3,
        ("summary_count", ()): 1,
        ("summary_sum", ()): 3,
        ("histogram_bucket", (("le", "1.0"),)): 0,
        ("histogram_bucket", (("le", "5.0"),)): 1,
        ("histogram_bucket", (("le", "+Inf"),)): 1,
        ("histogram_count", ()): 1,
        ("histogram_sum", ()): 3,
        ("gauge", (("pid", identifier.decode(errors="replace")),)): 3,
    }
    assert samples(collector.collect()) == expected
    assert samples(collector.merge(stock.files_of(directory))) == expected
    read = multiprom.MultiProcessCollector._read_metrics(stock.files_of(directory))
    assert samples(collector._accumulate_metrics(read, accumulate=True)) == expected
    assert b"\ncounter_total 3.0\n" in multiprom.generate_latest(registry)
