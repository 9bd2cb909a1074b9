"""Entries that only the format allows, as other writers of it may make them, merge as there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files, stock
from support.equality import plain
from support.strategies import FILE_PREFIXES, RARE_PREFIXES, entries


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
        for accumulate in (True, False):
            expected = stock.MultiProcessCollector.merge(paths, accumulate=accumulate)
            merged = multiprom.MultiProcessCollector.merge(paths, accumulate=accumulate)
            assert plain(merged) == plain(expected)

        ours, theirs = CollectorRegistry(), CollectorRegistry()
        multiprom.MultiProcessCollector(ours, directory)
        stock.SortedCollector(theirs, directory)
        assert stock.texts(ours, multiprom.generate_latest, openmetrics_latest) == (
            stock.texts(theirs)
        )
