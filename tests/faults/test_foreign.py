"""What else may lie in the directory: databases of the application, folders, links (878).

None of it is damage, so nothing is logged as a warning; but it can be asked for.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support.equality import samples
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (x)")


def endpoint(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        # A path for a socket must be short, and that of a test's directory is not.
        here = os.open(path.parent, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def link(path: Path) -> None:
    path.symlink_to("counter_1.db")


def dangling(path: Path) -> None:
    path.symlink_to("missing")


def metrics(path: Path) -> None:
    write(path, [Entry("requests", "requests_total", value=100)])


FOREIGN: list[tuple[str, Callable[[Path], object]]] = [
    ("app.db", sqlite),
    ("counters.db", sqlite),
    ("test.sqlite.db", sqlite),
    ("cache_1.db", metrics),
    ("Counter_1.db", metrics),
    ("counter.db", metrics),
    ("gauge_1.db", metrics),
    ("gauge.db", metrics),
    ("_1.db", metrics),
    ("counter_folder.db", os.mkdir),
    ("app.db", os.mkdir),
    ("counter_link.db", link),
    ("counter_dangling.db", dangling),
    ("counter_fifo.db", os.mkfifo),
    ("gauge_livesum_fifo.db", os.mkfifo),
    ("é_1.db", metrics),
]


@pytest.fixture(autouse=True)
def _files(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(3)])


@pytest.mark.parametrize(("name", "make"), FOREIGN)
def test_is_left_out(
    directory: Path,
    name: str,
    make: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = directory / name
    make(path)
    caplog.set_level(logging.DEBUG, "multiprom")
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry)
    for _ in range(2):
        assert samples(collector.collect()) == {("requests_total", ()): 3}
        text = multiprom.generate_latest(registry)
        assert text.endswith(b"\nrequests_total 3.0\n")
    (report,) = [report for report in multiprom.left_out() if report.path == str(path)]
    assert report.offset is None
    assert report.reason
    records = [record for record in caplog.records if record.name.startswith("multiprom")]
    assert [record for record in records if record.levelno >= logging.WARNING] == []


def test_a_socket_is_left_out(directory: Path) -> None:
    if os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        endpoint(directory / "counter_socket.db")
    else:
        os.mkfifo(directory / "counter_socket.db")
    collector = multiprom.MultiProcessCollector(None)
    assert samples(collector.collect()) == {("requests_total", ()): 3}


@pytest.mark.parametrize(
    "name", ["counter_2.db~", "counter_2.db.tmp", "counter_2.DB", ".counter_2.db", "notes.txt", "x"]
)
def test_other_endings_are_not_even_looked_at(directory: Path, name: str) -> None:
    """prometheus_client lists `*.db`, which leaves out hidden files as well."""
    metrics(directory / name)
    collector = multiprom.MultiProcessCollector(None)
    assert samples(collector.collect()) == {("requests_total", ()): 3}
    assert [report for report in multiprom.left_out() if str(directory) in report.path] == []


def test_named_by_the_caller(directory: Path) -> None:
    """merge() takes names from anywhere, so also those of no metrics file."""
    sqlite(directory / "app.db")
    (directory / "folder.db").mkdir()
    (directory / "counter_folder.db").mkdir()
    names = [str(path) for path in sorted(directory.iterdir())]
    merged = multiprom.MultiProcessCollector.merge([*names, "", "/", str(directory)])
    assert samples(merged) == {("requests_total", ()): 3}


def test_a_name_may_be_wrong_and_the_content_sound(directory: Path) -> None:
    """An unknown type means that nobody knows how to merge it."""
    metrics(directory / "cache_1.db")
    assert list(multiprom.MultiProcessCollector.merge([directory / "cache_1.db"])) == []
