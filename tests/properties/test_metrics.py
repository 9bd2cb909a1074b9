"""What prometheus_client's own metrics wrote is merged and printed as prometheus_client does it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files, stock
from support.equality import plain
from support.files import of_one_type
from support.processes import Process, write
from support.strategies import ANY_FLOATS, PICKING_MODES, applications

if TYPE_CHECKING:
    from collections.abc import Sequence


APPLICATIONS = st.one_of(
    applications(),
    # Without gauges a process may be called anything.
    applications(kinds=("counter", "summary", "histogram")),
    # Modes that add nothing up give back any float whatever.
    applications(kinds=("gauge",), modes=PICKING_MODES, values=ANY_FLOATS),
)


def assert_same_merge(files: Sequence[str]) -> None:
    copies = of_one_type(files, Path(files[0]).parent / "copies") if files else []
    for accumulate in (True, False):
        expected = stock.MultiProcessCollector.merge(copies, accumulate=accumulate)
        merged = multiprom.MultiProcessCollector.merge(files, accumulate=accumulate)
        assert plain(merged, shows_times=accumulate) == (plain(expected, shows_times=accumulate))


@given(application=APPLICATIONS)
def test_merge_in_name_order(application: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        assert_same_merge(write(directory, application))


@given(application=APPLICATIONS, data=st.data())
def test_merge_in_any_order(application: list[Process], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        files = write(directory, application)
        assert_same_merge(data.draw(st.permutations(files)))


@given(application=APPLICATIONS)
def test_collect(application: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write(directory, application)
        of_one_type(stock.files_of(directory), Path(directory, "copies"))
        expected = stock.SortedCollector(None, str(Path(directory, "copies"))).collect()
        collected = multiprom.MultiProcessCollector(None, directory).collect()
        assert plain(collected) == plain(expected)


@given(application=APPLICATIONS, data=st.data())
def test_halves_of_the_public_merge(application: list[Process], data: st.DataObject) -> None:
    """Projects call the two halves of merge() themselves, and read the metrics in between."""
    with tempfile.TemporaryDirectory() as directory:
        files = data.draw(st.permutations(write(directory, application)))
        accumulate = data.draw(st.booleans())
        copies = of_one_type(files, Path(directory, "copies"))
        expected = stock.MultiProcessCollector._read_metrics(copies)
        read = multiprom.MultiProcessCollector._read_metrics(files)
        assert list(read) == list(expected)
        for ours, theirs in zip(read.values(), expected.values(), strict=True):
            assert (ours.name, ours.documentation, ours.type) == (
                theirs.name,
                theirs.documentation,
                theirs.type,
            )
            assert [repr(sample) for sample in ours.samples] == [
                repr(sample) for sample in theirs.samples
            ]
        assert plain(multiprom.MultiProcessCollector._accumulate_metrics(read, accumulate)) == (
            plain(stock.MultiProcessCollector._accumulate_metrics(expected, accumulate))
        )


# What is in files is printed as prometheus_client prints it, numbers digit for digit.


def assert_same_text(directory: str) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(ours, directory)
    of_one_type(stock.files_of(directory), Path(directory, "copies"))
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
