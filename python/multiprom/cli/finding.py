"""What a check of `multiprom doctor` has found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What a check has found."""

    check: str
    """What was looked at."""
    level: str
    """`ok`, `note`, `warning` or `problem`."""
    text: str
    """What is so."""
    advice: str = ""
    """What to do."""
