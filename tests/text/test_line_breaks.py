"""A line break in a name never becomes one in the text: a line of its own would be a forgery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import stock
from support.files import Entry, write

if TYPE_CHECKING:
    from pathlib import Path

BREAKS = ["a\nb", "\n", "a\n\n"] if stock.UTF8_NAMES else []
if stock.ESCAPINGS:
    # Before 0.23 OpenMetrics is printed by prometheus_client, which takes this one for plain.
    BREAKS.append("a\n")


@pytest.mark.parametrize("text", ["a\n", "a\nb", "\n", 'a\n# EOF\n"} 1\n'])
def test_in_help_and_label_values(directory: Path, text: str) -> None:
    write(directory / "counter_1.db", [Entry("n", "n_total", {"a": text}, text, 1)])
    assert_lines(3)


if BREAKS:

    @pytest.mark.parametrize("name", BREAKS)
    def test_in_names(directory: Path, name: str) -> None:
        """prometheus_client escapes them, but for one at the end of a name."""
        write(directory / "gauge_max_1.db", [Entry(name, name, {name: "x"}, "", 1)])
        assert_lines(3)


def assert_lines(count: int) -> None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    found = stock.texts(registry, multiprom.generate_latest, openmetrics_latest)
    for format_, text in found.items():
        assert text.count(b"\n") == count + (format_[0] == "openmetrics"), format_
