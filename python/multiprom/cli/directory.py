"""Which directory a command is about, and what keeps it from being used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprom import environment
from multiprom.cli.failure import USAGE, Failure, reason

if TYPE_CHECKING:
    import argparse


def add_to(parser: argparse.ArgumentParser) -> None:
    """Let a command take a directory."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        help=f"the directory of the metrics files (default: ${environment.VARIABLE})",
    )


def named(options: argparse.Namespace) -> str:
    """Give the directory that the options or the environment name; it may be missing.

    Raises Failure if neither does.
    """
    given: str | None = options.directory
    try:
        return environment.directory(given or None)
    except ValueError:
        text = f"which directory? Name it, or set {environment.VARIABLE}"
        raise Failure(text, USAGE) from None


def readable(options: argparse.Namespace) -> str:
    """Give the same, for a command that cannot do without it.

    Raises Failure if it cannot be listed.
    """
    path = named(options)
    if why := unreadable(path):
        raise Failure(why)
    return path


def unreadable(path: str) -> str:
    """Say why a directory cannot be listed; nothing if it can."""
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"cannot read the directory {path!r}: {reason(error)}"
    return ""


def only_look() -> None:
    """Let this process fold nothing: a command that shows something changes nothing."""
    os.environ["MULTIPROM_COMPACTION"] = "off"
