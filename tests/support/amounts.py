"""What the tasks of a forking application count."""

from __future__ import annotations

import random


def amounts(number: int) -> list[float]:
    """Return what task `number` counts."""
    dice = random.Random(number)
    return [dice.random() / 3 for _ in range(2)]


def sum_of(number: int) -> float:
    """Return it as the file of the task has it: rounded there, and never again."""
    return sum(amounts(number), 0.0)
