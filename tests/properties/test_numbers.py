"""Numbers are printed as prometheus_client prints them, digit for digit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files, stock
from support.strategies import ANY_FLOATS


@given(values=st.lists(ANY_FLOATS, min_size=1, max_size=50))
def test_values(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        entries = [
            files.Entry("level", "level", {"n": str(n)}, value=value)
            for n, value in enumerate(values)
        ]
        files.write(Path(directory, "gauge_max_1.db"), entries, size=0)
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        multiprom.MultiProcessCollector(ours, directory)
        stock.SortedCollector(theirs, directory)
        assert multiprom.generate_latest(ours) == stock.generate_latest(theirs)
        assert openmetrics_latest(ours) == stock.openmetrics_latest(theirs)


@given(bounds=st.lists(ANY_FLOATS.filter(lambda bound: bound == bound), min_size=1, max_size=20))  # noqa: PLR0124
def test_bounds_of_buckets(bounds: list[float]) -> None:
    """A bound is read as a number and printed anew, whatever its writer made of it."""
    with tempfile.TemporaryDirectory() as directory:
        entries = [
            files.Entry("took", "took_bucket", {"le": repr(bound)}, value=1) for bound in bounds
        ]
        files.write(Path(directory, "histogram_1.db"), entries, size=0)
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        multiprom.MultiProcessCollector(ours, directory)
        stock.SortedCollector(theirs, directory)
        assert multiprom.generate_latest(ours) == stock.generate_latest(theirs)
