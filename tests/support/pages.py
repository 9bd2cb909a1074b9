"""Pages of metrics, as servers answer them."""

from __future__ import annotations


def samples(text: str) -> dict[str, float]:
    """Return the samples of a page, each under its name and labels as they are printed."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}
