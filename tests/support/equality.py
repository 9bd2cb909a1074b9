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


def plain(metrics: Iterable[Metric], *, shows_times: bool = True) -> list[Any]:
    """Return families, samples and labels in their order.

    `shows_times` is False for what `merge(accumulate=False)` gives: unlike prometheus_client's, it
    says when gauges that show what was set last were set.
    """
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            getattr(metric, "_multiprocess_mode", None),
            [
                # The fields behind the value differ between versions of prometheus_client.
                (
                    *(sample.name, list(sample.labels.items()), number(sample.value)),
                    *((sample.timestamp,) if shows_times else ()),
                    *sample[4:],
                )
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
