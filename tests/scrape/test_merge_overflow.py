"""Sums that overflow, as prometheus_client adds them: in the order of files, also in many files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support import stock
from support.equality import plain
from support.files import counter, write

if TYPE_CHECKING:
    from pathlib import Path

INFINITY = float("inf")


@pytest.mark.parametrize(
    "values",
    [
        [1e308, 1e308, -1e308],
        [1e308, -1e308, 1e308],
        [INFINITY, 1, -1e308],
        [INFINITY, -INFINITY, 1],
        [-1e308, -1e308, 1],
    ],
)
@pytest.mark.parametrize("files_between", [0, 100])
def test_overflow(directory: Path, values: list[float], files_between: int) -> None:
    """With many files several threads read parts of them; the result is the same."""
    spread: list[float] = []
    for value in values:
        spread += [value] + [0.0] * files_between
    files = [
        str(write(directory / f"counter_{number:04}.db", [counter(value)], size=0))
        for number, value in enumerate(spread)
    ]
    expected = stock.MultiProcessCollector.merge(files)
    assert plain(multiprom.MultiProcessCollector.merge(files)) == plain(expected)
