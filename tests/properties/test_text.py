"""What prometheus_client's own metrics wrote is printed as prometheus_client prints it."""

from __future__ import annotations

import tempfile

import multiprom
from hypothesis import given
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import stock
from support.processes import Process, write
from support.strategies import ANY_FLOATS, PICKING_MODES, applications


def assert_same_text(directory: str) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(ours, directory)
    stock.SortedCollector(theirs, directory)
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
