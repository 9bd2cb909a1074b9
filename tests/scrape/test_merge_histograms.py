"""Buckets of one bound are one bucket, and each counts what the lower ones count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import multiprom
import pytest
from support import stock
from support.equality import plain
from support.files import Entry, counter, write
from support.processes import Instrument, Process, Series
from support.processes import write as write_processes

if TYPE_CHECKING:
    from pathlib import Path


def bucket(bound: str, value: float, **labels: str) -> Entry:
    return Entry("took", "took_bucket", {"le": bound, **labels}, value=value)


def shown(files: list[str], *, accumulate: bool = True) -> list[tuple[str, str, float]]:
    (metric,) = multiprom.MultiProcessCollector.merge(files, accumulate=accumulate)
    return [(s.name, s.labels.get("le", ""), s.value) for s in metric.samples]


def test_buckets_accumulate(directory: Path) -> None:
    path = write(directory / "histogram_1.db", [bucket("1.0", 1), bucket("2.0", 2)])
    assert shown([str(path)]) == [
        ("took_bucket", "1.0", 1),
        ("took_bucket", "2.0", 3),
        ("took_count", "", 3),
    ]


def test_count_is_the_last_bucket(directory: Path) -> None:
    """Whatever a `_count` of the file says: the two must never differ in one scrape."""
    entries = [Entry("took", "took_count", value=99), bucket("+Inf", 5)]
    path = write(directory / "histogram_1.db", entries)
    assert ("took_count", "", 5) in shown([str(path)])


def test_unaccumulated(directory: Path) -> None:
    """For those who write the result into a file again."""
    entries = [bucket("1.0", 1), bucket("2.0", 2), Entry("took", "took_sum", value=4)]
    paths = [str(write(directory / f"histogram_{pid}.db", entries)) for pid in (1, 2)]
    assert sorted(shown(paths, accumulate=False)) == [
        ("took_bucket", "1.0", 2),
        ("took_bucket", "2.0", 4),
        ("took_sum", "", 8),
    ]


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        (("1", "1.0", "1e0", "01"), "1.0"),
        (("+Inf", "inf", "Infinity"), "+Inf"),
        (("1e6", "1000000.0", "1e+06"), "1e+06"),
        (("0.005", ".005", "5e-3"), "0.005"),
        (("-1", "-1.0"), "-1.0"),
        (("-Inf", "-inf"), "-Inf"),
        (("1e16", "10000000000000000"), "1e+16"),
    ],
)
def test_one_bound_in_several_spellings(
    directory: Path, spellings: tuple[str, ...], canonical: str
) -> None:
    """Client libraries and versions write bounds in their own ways."""
    paths = [
        str(write(directory / f"histogram_{pid}.db", [bucket(spelling, 1)]))
        for pid, spelling in enumerate(spellings)
    ]
    assert shown(paths) == [
        ("took_bucket", canonical, len(spellings)),
        ("took_count", "", len(spellings)),
    ]


def test_buckets_are_sorted_as_numbers(directory: Path) -> None:
    bounds = ["+Inf", "10.0", "9.0", "-1.0", "1e+06", "-Inf", "0.5"]
    path = write(directory / "histogram_1.db", [bucket(bound, 1) for bound in bounds])
    found = [bound for name, bound, _ in shown([str(path)]) if name == "took_bucket"]
    assert found == ["-Inf", "-1.0", "0.5", "9.0", "10.0", "1e+06", "+Inf"]


def test_processes_with_other_buckets(directory: Path) -> None:
    """As during a release that changes them."""
    old = write(directory / "histogram_1.db", [bucket("1.0", 1), bucket("+Inf", 1)])
    new = write(directory / "histogram_2.db", [bucket("0.5", 1), bucket("+Inf", 2)])
    files = [str(old), str(new)]
    assert plain(multiprom.MultiProcessCollector.merge(files)) == plain(
        stock.MultiProcessCollector.merge(files)
    )
    assert shown(files)[:3] == [
        ("took_bucket", "0.5", 1),
        ("took_bucket", "1.0", 2),
        ("took_bucket", "+Inf", 5),
    ]


def test_each_set_of_labels_accumulates_by_itself(directory: Path) -> None:
    entries = [bucket(bound, n, code=code) for n, code in ((1, "a"), (2, "b")) for bound in "12"]
    path = write(directory / "histogram_1.db", entries)
    (metric,) = multiprom.MultiProcessCollector.merge([str(path)])
    counts = {s.labels["code"]: s.value for s in metric.samples if s.name == "took_count"}
    assert counts == {"a": 2, "b": 4}


def test_as_written_by_histograms(directory: Path) -> None:
    def histogram(*amounts: float) -> Instrument:
        series = (Series(("GET",), amounts), Series(("PUT",), (-5, 100)))
        return Instrument(
            "histogram", "took", "Help", ("method",), series, buckets=(-1.0, 0.5, 2.0, 1e6)
        )

    files = write_processes(
        directory, [Process(1, (histogram(0.25, 1, 1e9),)), Process(2, (histogram(),))]
    )
    for accumulate in (True, False):
        expected = stock.MultiProcessCollector.merge(files, accumulate=accumulate)
        merged = multiprom.MultiProcessCollector.merge(files, accumulate=accumulate)
        assert plain(merged) == plain(expected)


@pytest.mark.parametrize("values", [(1.0, 2.0, 4.0), (1e299, 1.0, 1e-299)], ids=["few", "many"])
def test_only_histograms_have_buckets(directory: Path, values: tuple[float, ...]) -> None:
    """Of any other metric `le` is a label: also where a sum needs more bits than a pair has."""
    files = []
    for pid, value in enumerate(values):
        entries = [counter(value, le="2.0"), counter(1, le="1"), counter(1, le="1.0")]
        files.append(str(write(directory / f"counter_{pid}.db", entries)))
    (metric,) = multiprom.MultiProcessCollector.merge(files)
    assert [(s.name, s.labels, s.value) for s in metric.samples] == [
        ("requests_total", {"le": "2.0"}, math.fsum(values)),
        ("requests_total", {"le": "1"}, 3.0),
        ("requests_total", {"le": "1.0"}, 3.0),
    ]
