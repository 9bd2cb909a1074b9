"""What tests of gunicorn's hooks look at: the log of a server, and the files of a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import multiprom

if TYPE_CHECKING:
    from pathlib import Path
    from unittest import mock


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.db")}


def total(directory: Path) -> float:
    files = sorted(directory.glob("*.db"))
    metrics = multiprom.MultiProcessCollector.merge(files)
    return sum(sample.value for metric in metrics for sample in metric.samples)


class Failing:
    """Fails whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def messages(log: mock.Mock) -> list[tuple[str, str]]:
    """Return the level and the finished text of everything that was logged."""
    return [(name, args[0] % args[1:]) for name, args, _ in log.method_calls]
