"""Draws what `make soak` has seen, in four panels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from soak import Sample

MIB = 1 << 20


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Write a PNG of a few ten kilobytes."""
    minutes = [sample.minutes for sample in samples]
    curves: dict[str, dict[str, list[float]]] = {
        "resident memory, MiB": {
            "master": [sample.master_memory / MIB for sample in samples],
            "largest worker": [sample.worker_memory / MIB for sample in samples],
            "scraper": [sample.scraper_memory / MIB for sample in samples],
        },
        "open descriptors": {
            "master": [sample.master_descriptors for sample in samples],
            "worker with the most": [sample.worker_descriptors for sample in samples],
            "scraper": [sample.scraper_descriptors for sample in samples],
        },
        ".db files": {"files": [sample.files for sample in samples]},
        "one scrape to text, ms": {
            "median since the last point": [1000 * sample.scrape for sample in samples]
        },
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.4), sharex=True, layout="constrained")
    for axis, (title, named) in zip(axes.flat, curves.items(), strict=True):
        for name, values in named.items():
            axis.plot(minutes, values, label=name, linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize=8, loc="best")
    deaths = axes[1][0].twinx()
    deaths.plot(minutes, [sample.died for sample in samples], color="tab:red", linewidth=1.2)
    deaths.set_ylabel("workers that died", fontsize=9, color="tab:red")
    deaths.set_ylim(bottom=0)
    for axis in axes[1]:
        axis.set_xlabel("minutes")
    figure.savefig(path, dpi=90)
    plt.close(figure)
