"""Numbers of the command line: what is out of range is refused with the range."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

PORT_MAX = 65535
"""The highest port of TCP."""

_Number = TypeVar("_Number", int, float)


def number(
    convert: Callable[[str], _Number], what: str, low: _Number, high: _Number | None = None
) -> Callable[[str], _Number]:
    """Give what makes a number from `low` to `high` of an argument; `what` names it in errors."""
    expected = f"{what} is {low:,} or more" if high is None else f"{what} is {low:,} to {high:,}"

    def parse(text: str) -> _Number:
        value: _Number | None = None
        with contextlib.suppress(ValueError):
            value = convert(text)
        # Not a number (NaN) is in no range.
        if value is None or not value >= low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{expected}, not {text!r}")
        return value

    return parse
