"""What is in files is printed as prometheus_client prints it, numbers digit for digit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files, stock
from support.processes import Process, write
from support.strategies import ANY_FLOATS, PICKING_MODES, applications


def assert_same_text(directory: str) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(ours, directory)
    files.of_one_type(stock.files_of(directory), Path(directory, "copies"))
    stock.SortedCollector(theirs, str(Path(directory, "copies")))
    expected = stock.texts(theirs)
    assert stock.texts(ours, multiprom.generate_latest, openmetrics_latest) == expected
    # The collector serves prometheus_client's own functions as well.
    assert stock.texts(ours) == expected


@given(application=applications())
def test_every_type(application: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, application)
        assert_same_text(directory)


@given(application=applications(kinds=("counter", "summary", "histogram")))
def test_identifiers_of_any_shape(application: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, application)
        assert_same_text(directory)


@given(application=applications(kinds=("gauge",), modes=PICKING_MODES, values=ANY_FLOATS))
def test_any_float(application: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, application)
        assert_same_text(directory)


# Numbers are printed as prometheus_client prints them, digit for digit.


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
