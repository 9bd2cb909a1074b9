"""The digits of a number are those of Python's `repr`, also between two that are equally near.

Dashboards and tests compare texts, and prometheus_client writes what `repr` gives. One dyadic
fraction in a hundred has two shortest texts that are equally near: Python takes the even digit.
"""

from __future__ import annotations

import math
import os
import random
import struct
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.utils import floatToGoString
from support.files import entry_bytes, file_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# For a thorough run: MULTIPROM_TEST_NUMBERS=10000000.
COUNT = int(os.environ.get("MULTIPROM_TEST_NUMBERS", "100000"))
AT_ONCE = 100_000


def any_number(dice: random.Random) -> float:
    while True:
        value = float(struct.unpack("=d", struct.pack("=Q", dice.getrandbits(64)))[0])
        if math.isfinite(value):
            return value


def dyadic_fraction(dice: random.Random) -> float:
    return dice.getrandbits(dice.randint(1, 53)) / 2.0 ** dice.randint(0, 60)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", [any_number, dyadic_fraction])
def test_digits(directory: Path, number: Callable[[random.Random], float]) -> None:
    path = directory / "gauge_max_1.db"
    dice = random.Random(COUNT)
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    for _ in range(0, COUNT // 2, AT_ONCE):
        values = [number(dice) for _ in range(min(AT_ONCE, COUNT // 2))]
        key = '["n", "n", {{"i": "{}"}}, "Help"]'
        entries = [entry_bytes(key.format(i).encode(), value) for i, value in enumerate(values)]
        path.write_bytes(file_bytes(entries))
        lines = multiprom.generate_latest(registry).decode().splitlines()[2:]
        assert len(lines) == len(values)
        written = [line.rpartition(" ")[2] for line in lines]
        wrong = [
            (value, text)
            for value, text in zip(values, written, strict=True)
            if text != floatToGoString(value)
        ]
        assert wrong == []
