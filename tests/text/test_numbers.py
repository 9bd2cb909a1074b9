"""Numbers and line breaks as they have always been printed: no graph changes on an update."""

from __future__ import annotations

import math
import os
import random
import struct
from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from prometheus_client.utils import floatToGoString
from support import stock
from support.files import Entry, entry_bytes, file_bytes, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


TABLE = [
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1.0, "1.0"),
    (0.1 + 0.2, "0.30000000000000004"),
    (1 / 3, "0.3333333333333333"),
    (99999.0, "99999.0"),
    (999999.0, "999999.0"),
    (999999.9999999999, "999999.9999999999"),
    (1e6, "1e+06"),
    (1000001.0, "1.000001e+06"),
    (1234567.0, "1.234567e+06"),
    (1000000.5, "1.0000005e+06"),
    (123456789.123, "1.23456789123e+08"),
    # From here on Python itself writes an exponent.
    (1e16, "1e+16"),
    (1.5e16, "1.5e+16"),
    (1e22, "1e+22"),
    (1e23, "1e+23"),
    (1e100, "1e+100"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    # Only of positive numbers prometheus_client cares.
    (-1e6, "-1000000.0"),
    (-123456789.5, "-123456789.5"),
    (-1e16, "-1e+16"),
    (0.001, "0.001"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (0.000012345, "1.2345e-05"),
    (1e-10, "1e-10"),
    (5e-324, "5e-324"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (math.inf, "+Inf"),
    (-math.inf, "-Inf"),
    (math.nan, "NaN"),
]


def printed(collector_class: type, generate: object) -> str:
    registry = CollectorRegistry()
    collector_class(registry)
    assert callable(generate)
    text: bytes = generate(registry)
    (line,) = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return line.removeprefix("level ")


@pytest.mark.parametrize(("value", "expected"), TABLE)
def test_value(directory: Path, value: float, expected: str) -> None:
    write(directory / "gauge_max_1.db", [Entry("level", "level", value=value)])
    assert printed(multiprom.MultiProcessCollector, multiprom.generate_latest) == expected
    assert printed(multiprom.MultiProcessCollector, openmetrics_latest) == expected


@pytest.mark.parametrize("exponent", range(-5, 25))
def test_powers_of_ten(directory: Path, exponent: int) -> None:
    """Before 0.26 prometheus_client wrote `1e+010`; the installed version decides."""
    value = float(f"1.25e{exponent}")
    write(directory / "gauge_max_1.db", [Entry("level", "level", value=value)])
    assert printed(multiprom.MultiProcessCollector, multiprom.generate_latest) == (
        printed(stock.MultiProcessCollector, stock.generate_latest)
    )


@pytest.mark.parametrize("value", [10.0**exponent for exponent in (-5, 5, 6, 7, 9, 10, 15, 16)])
def test_bounds_of_buckets(directory: Path, value: float) -> None:
    """As in prometheus_client, they are numbers between the file and the label."""
    entry = Entry("took", "took_bucket", {"le": repr(value)}, value=1)
    files = [str(write(directory / "histogram_1.db", [entry]))]
    (metric,) = multiprom.MultiProcessCollector.merge(files)
    assert metric.samples[0].labels == {"le": floatToGoString(value)}
    registries = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(registries[0])
    stock.MultiProcessCollector(registries[1])
    assert multiprom.generate_latest(registries[0]) == stock.generate_latest(registries[1])


# The digits of a number are those of Python's `repr`, also between two that are equally near.
#
# Dashboards and tests compare texts, and prometheus_client writes what `repr` gives. One dyadic
# fraction in a hundred has two shortest texts that are equally near: Python takes the even digit.

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


# A line break in a name never becomes one in the text: a line of its own would be a forgery.

BREAKS = ["a\nb", "\n", "a\n\n"] if stock.UTF8_NAMES else []
if stock.ESCAPINGS:
    # Before 0.23 OpenMetrics is printed by prometheus_client, which takes this one for plain.
    BREAKS.append("a\n")


@pytest.mark.parametrize("text", ["a\n", "a\nb", "\n", 'a\n# EOF\n"} 1\n'])
def test_in_help_and_label_values(directory: Path, text: str) -> None:
    write(directory / "counter_1.db", [Entry("n", "n_total", {"a": text}, text, 1)])
    assert_lines(3)


if BREAKS:

    @pytest.mark.parametrize("name", BREAKS)
    def test_in_names(directory: Path, name: str) -> None:
        """prometheus_client escapes them, but for one at the end of a name."""
        write(directory / "gauge_max_1.db", [Entry(name, name, {name: "x"}, "", 1)])
        assert_lines(3)


def assert_lines(count: int) -> None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    found = stock.texts(registry, multiprom.generate_latest, openmetrics_latest)
    for format_, text in found.items():
        assert text.count(b"\n") == count + (format_[0] == "openmetrics"), format_
