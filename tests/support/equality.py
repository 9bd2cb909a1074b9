"""Metrics as plain data that compares equal exactly if a user could not tell them apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric


def number(value: float) -> str:
    """Return a number as text: NaN equals itself, 0.0 is not -0.0, an int is not a float."""
    shown = "nan" if math.isnan(value) else float(value).hex()
    return f"{type(value).__name__} {shown}"


def plain(metrics: Iterable[Metric]) -> list[Any]:
    """Return families, samples and labels in their order."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            getattr(metric, "_multiprocess_mode", None),
            [
                # The fields behind the value differ between versions of prometheus_client.
                (sample.name, list(sample.labels.items()), number(sample.value), *sample[3:])
                for sample in metric.samples
            ],
        )
        for metric in metrics
    ]


def samples(metrics: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the value of each series, for tests that care for nothing else."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for sample in metric.samples
    }
