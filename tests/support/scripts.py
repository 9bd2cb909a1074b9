"""What scripts in interpreters of their own do before and at their end."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import multiprom


def scrape(directory: str | None = None) -> dict[str, float]:
    """Return the samples of a scrape, by name: of each the last."""
    collector = multiprom.MultiProcessCollector(None, directory)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}


def finish() -> NoReturn:
    """End at once: where something of prometheus_client's is left open, that is no concern here."""
    sys.stdout.flush()
    os._exit(0)
