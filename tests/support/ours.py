"""multiprom's value classes at work in this process, and what their files must be."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
from support import stock
from support.files import HEADER, MAGIC, NUMBERS, USED, extents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def process(directory: Path | str, identifier: object) -> Iterator[None]:
    """Let the metrics that are made inside write the files of a process of that name."""
    with value_class(lambda: identifier) as made, stock.counting(directory, made):
        yield


@contextmanager
def value_class(*identifiers: Callable[[], object]) -> Iterator[Any]:
    """Make a value class, and end it like a process: its files are those of a dead one then."""
    make: Any = multiprom.MultiProcessValue
    made = make(*identifiers)
    try:
        yield made
    finally:
        made._value_class.end()


def value(
    made: Any,
    name: str = "requests_total",
    *label: str,
    typ: str = "counter",
    mode: str = "",
    family: str = "requests",
) -> Any:
    """Make one value, as a metric of prometheus_client would."""
    names = ("label",) if label else ()
    return made(typ, family, name, names, label, "Help", multiprocess_mode=mode)


def assert_same_but_for_the_magic(written: Path | str, expected: Path | str) -> None:
    """Compare the files of two directories byte for byte, and the names, sizes and modes."""
    theirs = {file.name: file for file in Path(expected).glob("*.db")}
    found = {file.name: file for file in Path(written).glob("*.db")}
    assert found.keys() == theirs.keys()
    for name, file in found.items():
        content, reference = map(_with_one_nan, (file.read_bytes(), theirs[name].read_bytes()))
        assert content[USED.size : HEADER] == MAGIC
        assert content[: USED.size] == reference[: USED.size]
        assert content[HEADER:] == reference[HEADER:]
        assert file.stat().st_mode == theirs[name].stat().st_mode


def _with_one_nan(content: bytes) -> bytes:
    """Return a file in which all NaN are the same: which of two a sum gives is nobody's to say."""
    changed = bytearray(content)
    for _, end in extents(content):
        value, timestamp = NUMBERS.unpack_from(content, end - NUMBERS.size)
        if math.isnan(value):
            NUMBERS.pack_into(changed, end - NUMBERS.size, math.nan, timestamp)
    return bytes(changed)
