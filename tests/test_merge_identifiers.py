"""A process may be called anything, and what its files are called says who it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from equality import samples
from files import Entry, counter, write
from processes import Instrument, Process, Series
from processes import write as write_processes

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
