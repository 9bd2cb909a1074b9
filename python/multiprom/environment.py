"""What the environment says: the directory, and what is on or off; and what a name can be."""

from __future__ import annotations

import os

from multiprom.reports import is_first, logger

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory."""
OLD_VARIABLE = "prometheus_multiproc_dir"
"""Its deprecated form, which prometheus_client takes still."""

_OFF = ("off", "0", "false", "no")
_ON = ("on", "1", "true", "yes")

# Which values were warned of. Single operations on a dictionary need no lock.
_warned: dict[tuple[str, str], object] = {}


def is_on(variable: str, *, default: bool) -> bool:
    """Say whether a variable of the environment is on, off, or neither: then it is `default`.

    A value that is not understood is neither, with one warning.
    """
    value = os.environ.get(variable, "")
    word = value.strip().lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    if word and is_first(_warned, (variable, value)):
        *most, last = (*_OFF, *_ON)
        logger.warning(
            "%s is %r, which is not understood: %s and %s are; it stays %s",
            variable,
            value,
            ", ".join(most),
            last,
            "on" if default else "off",
        )
    return default


def directory(path: str | os.PathLike[str] | None) -> str:
    """Give `path`, or the directory that the environment names.

    Raises:
        ValueError: Neither is there. The message is prometheus_client's.

    """
    if path is None:
        path = os.environ.get(VARIABLE, os.environ.get(OLD_VARIABLE))
    if path is None:
        raise ValueError(f"env {VARIABLE} is not set")
    return os.fsdecode(path)


def can_be_in_a_name(identifier: str) -> bool:
    """Say whether a file can be named after a process identifier."""
    try:
        os.fsencode(identifier)
    except UnicodeEncodeError:
        return False
    return True
