"""Sums are exact and rounded once.

Prometheus takes any fall of a counter for a restart and adds the whole value again, so a total that
depends on the order in which files are read is a total that is sometimes counted twice.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from support import files
from support.equality import number, samples
from support.strategies import ANY_FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A count, a duration, a size: what real metrics add up.
AMOUNTS = st.one_of(
    st.integers(0, 2**53).map(float),
    st.floats(0, 1e15),
    st.decimals(0, 10**6, places=3).map(float),
)


def exact_sum(values: Sequence[float]) -> float:
    """Return the sum that is right, or where there is none what plain additions give."""
    # Plain additions from left to right: the built-in sum() compensates since Python 3.12.
    plain = 0.0
    for value in values:
        plain += value
    return math.fsum(values) if math.isfinite(plain) else plain


def merged(directory: str, prefix: str, entries: Iterable[Iterable[files.Entry]]) -> dict[str, str]:
    paths = [
        files.write(Path(directory, f"{prefix}_{pid}.db"), found, size=0)
        for pid, found in enumerate(entries)
    ]
    collected = multiprom.MultiProcessCollector.merge([str(path) for path in paths])
    return {
        f"{name} {dict(labels).get('le', '')}".strip(): number(value)
        for (name, labels), value in samples(collected).items()
    }


@given(values=st.lists(AMOUNTS | ANY_FLOATS, min_size=1, max_size=40))
def test_counters(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        entries = [[files.counter(value)] for value in values]
        assert merged(directory, "counter", entries) == {
            "requests_total": number(exact_sum(values) + 0.0)
        }


@given(values=st.lists(AMOUNTS | ANY_FLOATS, min_size=1, max_size=40))
def test_summaries(values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        entries = [
            [
                files.Entry("size", "size_sum", value=value),
                files.Entry("size", "size_count", value=1),
            ]
            for value in values
        ]
        assert merged(directory, "summary", entries) == {
            "size_sum": number(exact_sum(values) + 0.0),
            "size_count": number(float(len(values))),
        }


@given(
    values=st.lists(AMOUNTS | ANY_FLOATS, min_size=1, max_size=40),
    mode=st.sampled_from(["sum", "livesum"]),
)
def test_gauges(values: list[float], mode: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        entries = [[files.Entry("jobs", "jobs", value=value)] for value in values]
        assert merged(directory, f"gauge_{mode}", entries) == {
            "jobs": number(exact_sum(values) + 0.0)
        }


@given(counts=st.lists(st.tuples(*[st.integers(0, 2**40)] * 3), min_size=1, max_size=20))
def test_buckets(counts: list[tuple[int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        entries = [
            [
                files.Entry("took", "took_bucket", {"le": bound}, value=value)
                for bound, value in zip(("0.5", "1.0", "+Inf"), row, strict=True)
            ]
            for row in counts
        ]
        half, one, rest = (sum(column) for column in zip(*counts, strict=True))
        assert merged(directory, "histogram", entries) == {
            "took_bucket 0.5": number(float(half)),
            "took_bucket 1.0": number(float(half + one)),
            "took_bucket +Inf": number(float(half + one + rest)),
            "took_count": number(float(half + one + rest)),
        }


@given(values=st.lists(AMOUNTS, min_size=2, max_size=40), data=st.data())
def test_order_of_files_is_no_matter(values: list[float], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        shuffled = data.draw(st.permutations(values))
        assert merged(first, "counter", [[files.counter(value)] for value in values]) == (
            merged(second, "counter", [[files.counter(value)] for value in shuffled])
        )


@given(values=st.lists(AMOUNTS, min_size=1, max_size=30), more=st.floats(0, 1e6))
def test_a_process_that_counts_on_never_lowers_the_total(values: list[float], more: float) -> None:
    with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as after:
        grown = [*values[:-1], values[-1] + more]
        (first,) = merged(before, "counter", [[files.counter(value)] for value in values]).values()
        (then,) = merged(after, "counter", [[files.counter(value)] for value in grown]).values()
        assert float.fromhex(then.split()[1]) >= float.fromhex(first.split()[1])
