"""What scripts in interpreters of their own do besides what they test."""

from __future__ import annotations

import os
import resource
import sys
from typing import NoReturn

import multiprom


def scrape(directory: str | None = None) -> dict[str, float]:
    """Return the samples of a scrape, by name: of each the last."""
    collector = multiprom.MultiProcessCollector(None, directory)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}


def become_nobody() -> None:
    """Give up the rights of root, once all that is needed is imported: root may write anywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def take_all_descriptors(limit: int) -> list[int]:
    """Open files until no more can be opened, and return their descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return held


def finish() -> NoReturn:
    """End at once: where something of prometheus_client's is left open, that is no concern here."""
    sys.stdout.flush()
    os._exit(0)
