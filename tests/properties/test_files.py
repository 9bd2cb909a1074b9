"""Our writer and prometheus_client's write the same files, and each continues the other's.

The same processes, written by both, give the same bytes but for our magic in the header. What only
the format allows is merged as there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files, ours, stock
from support.equality import plain
from support.processes import Process, write
from support.strategies import (
    ANY_FLOATS,
    FILE_PREFIXES,
    PICKING_MODES,
    RARE_PREFIXES,
    applications,
    entries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


APPLICATIONS = applications() | applications(kinds=("counter", "summary", "histogram"))
ANY_VALUES = applications(kinds=("gauge",), modes=PICKING_MODES, values=ANY_FLOATS)


def _of_one_type(paths: Sequence[str], parent: str) -> list[str]:
    return files.of_one_type(paths, Path(parent, "copies"))


def write_both(parent: str, processes: Sequence[Process]) -> tuple[Path, Path]:
    written, expected = Path(parent, "ours"), Path(parent, "stock")
    for directory in (written, expected):
        directory.mkdir()
    write(written, processes, ours.process)
    write(expected, processes)
    return written, expected


@given(processes=APPLICATIONS | ANY_VALUES)
def test_same_bytes(processes: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as parent:
        ours.assert_same_but_for_the_magic(*write_both(parent, processes))


@given(processes=APPLICATIONS)
def test_each_reads_what_the_other_wrote(processes: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as parent:
        written, expected = write_both(parent, processes)
        reference = plain(stock.SortedCollector(None, str(expected)).collect())
        assert plain(stock.SortedCollector(None, str(written)).collect()) == reference
        # multiprom's writers have ended, and live gauges with them.
        lasting = [file for file in stock.files_of(expected) if "/gauge_live" not in file]
        reference = plain(stock.MultiProcessCollector.merge(_of_one_type(lasting, parent)))
        assert plain(multiprom.MultiProcessCollector(None, str(written)).collect()) == reference


@given(first=APPLICATIONS, second=APPLICATIONS)
def test_stock_continues_ours(first: list[Process], second: list[Process]) -> None:
    """A project takes multiprom out again and loses no count."""
    second = _under_the_names_of(first, second)
    with tempfile.TemporaryDirectory() as parent:
        written, expected = write_both(parent, first)
        for directory in (written, expected):
            write(directory, second)
        for file in set(written.glob("*.db")):
            if file.read_bytes()[4:8] == b"\0\0\0\0":
                # Stock alone wrote it, and the same twice.
                twin = expected / file.name
                assert file.read_bytes() == twin.read_bytes()
                file.unlink()
                twin.unlink()
        ours.assert_same_but_for_the_magic(written, expected)


@given(first=APPLICATIONS, second=APPLICATIONS)
def test_ours_continues_stock(first: list[Process], second: list[Process]) -> None:
    """A project takes multiprom in and loses no count; but live gauges start anew."""
    second = _under_the_names_of(first, second)
    with tempfile.TemporaryDirectory() as parent:
        expected = Path(parent, "stock")
        alone = Path(parent, "alone")
        for directory in (expected, alone):
            directory.mkdir()
        write(expected, first)
        written = Path(shutil.copytree(expected, Path(parent, "ours")))
        write(written, second, ours.process)
        write(expected, second)
        write(alone, second)
        for file in alone.glob("gauge_live*.db"):
            shutil.copy(file, expected / file.name)
        touched = {file.name for file in alone.glob("*.db")}
        for file in set(written.glob("*.db")):
            if file.name not in touched:
                # Nobody opened it again.
                assert file.read_bytes() == (expected / file.name).read_bytes()
                file.unlink()
                (expected / file.name).unlink()
        ours.assert_same_but_for_the_magic(written, expected)


def _under_the_names_of(first: list[Process], second: list[Process]) -> list[Process]:
    """Return the second processes, as far as possible, with the identifiers of the first."""
    identifiers = [process.identifier for process in first]
    return [
        Process(identifier, process.instruments)
        for identifier, process in zip(identifiers, second, strict=False)
    ]


# Entries that only the format allows, as other writers of it may make them, merge as there.


@st.composite
def directories(draw: st.DrawFn) -> dict[str, list[files.Entry]]:
    prefixes = st.lists(st.sampled_from(FILE_PREFIXES + RARE_PREFIXES), min_size=1, max_size=4)
    return {
        f"{prefix}_{pid}.db": draw(st.lists(entries(prefix), max_size=6))
        for pid, prefix in enumerate(draw(prefixes))
    }


@given(content=directories())
def test_merge_and_text(content: dict[str, list[files.Entry]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        paths = [
            str(files.write(Path(directory, name), found, size=0))
            for name, found in content.items()
        ]
        copies = _of_one_type(paths, directory)
        for accumulate in (True, False):
            expected = stock.MultiProcessCollector.merge(copies, accumulate=accumulate)
            merged = multiprom.MultiProcessCollector.merge(paths, accumulate=accumulate)
            assert plain(merged, shows_times=accumulate) == (
                plain(expected, shows_times=accumulate)
            )

        ours, theirs = CollectorRegistry(), CollectorRegistry()
        multiprom.MultiProcessCollector(ours, directory)
        # In name order another file may come first.
        _of_one_type(stock.files_of(directory), directory)
        stock.SortedCollector(theirs, str(Path(directory, "copies")))
        assert stock.texts(ours, multiprom.generate_latest, openmetrics_latest) == (
            stock.texts(theirs)
        )
