"""Folds the files of dead processes into one archive for each kind; no total changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
from multiprom.cli import directory, output
from multiprom.cli.failure import ATTENTION, DONE
from multiprom.cli.output import Table, count_of, size

if TYPE_CHECKING:
    import argparse

HELP = "fold the files of dead processes"
EXAMPLES = """\
examples:
  multiprom compact /run/metrics --dry-run
  multiprom compact --pid 4711 --pid 4712

Processes that wrote with prometheus_client's own code do not tell whether they live: name those
that are dead with --pid.
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    parser.add_argument(
        "--pid", action="append", default=[], metavar="PID", help="a process that is dead"
    )
    parser.add_argument(
        "--drop-all",
        action="store_true",
        default=None,
        help="delete the files of dead processes' `all` gauges, too",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another compaction of the directory (default: 10)",
    )
    output.add_json_to(parser)


def run(options: argparse.Namespace) -> int:
    """Fold the files."""
    path = directory.readable(options)
    done = multiprom.compact(path, options.pid, drop_all=options.drop_all, timeout=options.timeout)
    if options.json:
        left_alone = [left._asdict() for left in done.left_alone]
        output.print_json(
            "compact", {"directory": path, **done._asdict(), "left_alone": left_alone}
        )
    else:
        _print(done)
    return ATTENTION if done.busy or done.left_alone else DONE


def _print(done: multiprom.Compaction) -> None:
    if done.busy:
        output.print_text("nothing was done: another compaction of the directory is at work")
        return
    folded = count_of(done.files_folded, "file")
    processes = count_of(done.processes, "process", "processes")
    deleted = count_of(done.files_deleted, "file")
    freed = size(done.bytes_freed)
    output.print_text(f"folded {folded} of {processes}, deleted {deleted} besides, freed {freed}")
    if done.left_alone:
        output.print_tables([Table("Left alone", ("file", "reason"), done.left_alone)])


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise ValueError(text)
    return seconds
