"""What the environment says of the directory, and what a name can be."""

from __future__ import annotations

import os

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory."""
OLD_VARIABLE = "prometheus_multiproc_dir"
"""Its deprecated form, which prometheus_client takes still."""


def directory(path: str | os.PathLike[str] | None) -> str:
    """Give `path`, or the directory that the environment names; without either, ValueError."""
    if path is None and not (path := named_directory()):
        raise ValueError(f"env {VARIABLE} is not set")
    return os.fsdecode(path)


def named_directory(variables: dict[str, str] | None = None) -> str:
    """Give the directory that these variables name, by default the environment's; or nothing."""
    found = os.environ if variables is None else variables
    return found.get(VARIABLE) or found.get(OLD_VARIABLE) or ""


def can_be_in_a_name(identifier: str) -> bool:
    """Say whether a file can be named after a process identifier."""
    try:
        os.fsencode(identifier)
    except UnicodeEncodeError:
        return False
    return True
