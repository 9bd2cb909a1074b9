"""Many files are read by several threads, which changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import stock
from support.equality import plain
from support.files import Entry, write

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 150
MODES = (*stock.GAUGE_MODES, stock.EXTRA_MODE)
PREFIXES = ("counter", "summary", "histogram", *[f"gauge_{mode}" for mode in MODES])


def entries(prefix: str, number: int) -> list[Entry]:
    """Return what a process wrote: a common series, one of some, one of its own, all mixed."""
    value = number % 7 / 4
    time = float(number * 37 % PROCESSES)
    family = f"in_{prefix}"
    if prefix == "histogram":
        buckets = [
            Entry(family, f"{family}_bucket", {"le": bound, "code": code}, value=value)
            for code in ("200", str(number))
            for bound in (("1.0", "+Inf") if number < 140 else ("1.0", "2.5", "+Inf"))
        ]
        return [*buckets, Entry(family, f"{family}_sum", {"code": "200"}, value=value)]
    codes = ["200", str(number % 11), str(number)]
    if number == PROCESSES - 1:
        codes.insert(0, "only the last")
    shared = [Entry(family, family, {"code": c}, value=value, timestamp=time) for c in codes]
    late = [Entry(f"late_{prefix}_{number}", "late", value=value)] if number % 50 == 49 else []
    return late + shared[:: -1 if number % 2 else 1]


@pytest.fixture
def files(directory: Path) -> list[str]:
    for prefix in PREFIXES:
        for number in range(PROCESSES):
            path = directory / f"{prefix}_{number}.db"
            write(path, entries(prefix, number), size=0)
    return stock.files_of(directory)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_of_one_kind(files: list[str], prefix: str) -> None:
    chosen = [file for file in files if f"/{prefix}_" in file]
    assert len(chosen) == PROCESSES
    for accumulate in (True, False):
        expected = stock.MultiProcessCollector.merge(chosen, accumulate=accumulate)
        merged = multiprom.MultiProcessCollector.merge(chosen, accumulate=accumulate)
        assert plain(merged) == plain(expected)


def test_of_all_kinds_in_any_order(files: list[str]) -> None:
    for order in (files, files[::-1], files[1::2] + files[::2]):
        expected = stock.MultiProcessCollector.merge(order)
        assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)


@pytest.mark.usefixtures("files")
def test_as_text() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(ours)
    stock.SortedCollector(theirs)
    own = stock.texts(ours, multiprom.generate_latest, openmetrics_latest)
    assert own == stock.texts(theirs)
