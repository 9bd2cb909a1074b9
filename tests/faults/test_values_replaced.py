"""Somebody puts another file in the place of one that is written, such as a copy by a backup."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import multiprom
from prometheus_client import CollectorRegistry
from support import ours
from support.files import counter, write

if TYPE_CHECKING:
    from pathlib import Path


def _scrape() -> dict[str, float]:
    collector = multiprom.MultiProcessCollector(CollectorRegistry())
    return {
        sample.name: sample.value for metric in collector.collect() for sample in metric.samples
    }


def test_a_copy_counts_once(directory: Path) -> None:
    with ours.value_class(lambda: "a") as made:
        value = ours.value(made)
        value.inc(5)
        shutil.copy(directory / "counter_a.db", directory / "copy")
        os.replace(directory / "copy", directory / "counter_a.db")  # noqa: PTH105
        value.inc(1)
        assert _scrape() == {"requests_total": 6.0}
        assert value.get() == 6.0


def test_what_only_the_other_file_has_is_kept(directory: Path) -> None:
    with ours.value_class(lambda: "a") as made:
        ours.value(made).inc(5)
        write(directory / "other", [counter(2, "elsewhere")])
        os.replace(directory / "other", directory / "counter_a.db")  # noqa: PTH105
        assert _scrape() == {"requests_total": 5.0, "elsewhere_total": 2.0}
