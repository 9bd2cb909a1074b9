"""Folds the files of dead processes into one archive for each kind; no total changes."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import multiprom
from multiprom import _core
from multiprom.cli import directory, output, ranges, seen
from multiprom.cli.failure import ATTENTION, DONE, Failure
from multiprom.cli.output import Table, count_of, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from multiprom.cli.seen import Seen

HELP = "fold the files of dead processes"
EXAMPLES = """\
examples:
  multiprom compact /run/metrics --dry-run
  multiprom compact --pid 4711 --pid 4712

Processes that wrote with prometheus_client's own code do not tell whether they live: name those
that are dead with --pid.
"""
# Work that takes no longer shows no progress.
_QUICK_SECONDS = 0.3
_BAR_SECONDS = 0.1
_BAR_WIDTH = 30
# A file that uses no more has no entry.
_HEADER_BYTES = 8


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
        "--dry-run", action="store_true", help="only say what would be folded and deleted"
    )
    parser.add_argument(
        "--timeout",
        type=ranges.number(float, "a time in seconds", 0),
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another compaction of the directory (default: 10)",
    )
    output.add_json_to(parser)


class Step(NamedTuple):
    """What becomes of a file."""

    file: dict[str, Any]
    action: str
    """`fold`, `delete` or `leave`."""


def run(options: argparse.Namespace) -> int:
    """Fold the files."""
    path = directory.readable(options)
    strangers = _strangers(path, options.pid)
    done = _planned(path, options) if options.dry_run else _result(path, options)
    if options.json:
        output.print_json("compact", {"directory": path, "dry_run": options.dry_run, **done})
    else:
        _print(done, is_planned=options.dry_run)
    if strangers:
        raise Failure(f"no file is of process {' or '.join(strangers)}", ATTENTION)
    return ATTENTION if done["busy"] or done["left_alone"] else DONE


def _strangers(path: str, pids: Sequence[str]) -> list[str]:
    """Give those of the processes that have no file in the directory."""
    names = os.listdir(path) if pids else []  # noqa: PTH208 - the names are enough
    return [pid for pid in pids if not any(name.endswith(f"_{pid}.db") for name in names)]


def _plan(found: Seen, options: argparse.Namespace) -> list[Step]:
    """Say what compaction would do."""
    drops_all = options.drop_all or _core.drops_all()
    archives = [file for file in found.damaged if seen.is_unfoldable_archive(file)]
    kinds = {seen.kind(file) for file in archives}
    steps = [Step(file, "leave") for file in archives]
    for file in found.files:
        is_named = file["identifier"] in options.pid and file["state"] == "unknown"
        if not (is_named or file["state"] == "dead"):
            continue
        if seen.is_of_living(file) or (file["is_of_one_process"] and drops_all):
            steps.append(Step(file, "delete"))
        elif not file["is_of_one_process"] and seen.kind(file) not in kinds:
            # A file of which all series were withdrawn is folded, too.
            action = "fold" if file["used"] > _HEADER_BYTES else "delete"
            steps.append(Step(file, "leave" if seen.damage(file) else action))
    return steps


def _planned(path: str, options: argparse.Namespace) -> dict[str, Any]:
    found = seen.look(path)
    plan = _plan(found, options)
    steps = [step for step in plan if step.action != "leave"]
    if steps and not os.access(path, os.W_OK | os.X_OK):
        raise Failure(f"cannot fold anything: the directory {path!r} is not writable")
    folded = [step.file for step in steps if step.action == "fold"]
    return {
        "processes": len({file["identifier"] for file in folded}),
        "files_folded": len(folded),
        "files_deleted": len(steps) - len(folded),
        "bytes_freed": sum(step.file["allocated"] for step in steps),
        "left_alone": [
            {
                "path": os.path.join(path, step.file["name"]),  # noqa: PTH118
                "reason": f"damaged{seen.first_problem(step.file)}",
            }
            for step in plan
            if step.action == "leave"
        ],
        "busy": False,
        "files": [{"name": step.file["name"], "action": step.action} for step in steps],
    }


def _result(path: str, options: argparse.Namespace) -> dict[str, Any]:
    def work() -> multiprom.Compaction:
        drop_all, timeout = options.drop_all, options.timeout
        return multiprom.compact(path, options.pid, drop_all=drop_all, timeout=timeout)

    # A count of what it folds would be one more file of a dead process.
    os.environ["MULTIPROM_WORKER_METRICS"] = "0"
    files: list[str] = []
    if sys.stderr.isatty():
        steps = [step for step in _plan(seen.look(path), options) if step.action != "leave"]
        files = [os.path.join(path, step.file["name"]) for step in steps]  # noqa: PTH118
    done = _with_progress(work, files)
    return {**done._asdict(), "left_alone": [left._asdict() for left in done.left_alone]}


def _with_progress(
    work: Callable[[], multiprom.Compaction], files: Sequence[str]
) -> multiprom.Compaction:
    """Do the work, and show meanwhile how many of the files are gone."""
    # In a thread, so that Ctrl-C ends the command at once: what is done by then is whole.
    results: list[multiprom.Compaction] = []
    errors: list[BaseException] = []

    def work_in_thread() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=work_in_thread, daemon=True)
    thread.start()
    thread.join(_QUICK_SECONDS)
    shown = False
    while thread.is_alive():
        if files:
            gone = sum(not os.path.lexists(file) for file in files)
            sys.stderr.write("\r" + _bar(gone, len(files)))
            sys.stderr.flush()
            shown = True
        thread.join(_BAR_SECONDS)
    if shown:
        sys.stderr.write("\r\x1b[K")
    for error in errors:
        raise error
    return results[0]


def _bar(gone: int, count: int) -> str:
    filled = _BAR_WIDTH * gone // count
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {gone:,} of {count_of(count, 'file')}"


def _print(done: dict[str, Any], *, is_planned: bool) -> None:
    if done["busy"]:
        output.print_text("nothing was done: another compaction of the directory is at work")
        return
    folded = count_of(done["files_folded"], "file")
    processes = count_of(done["processes"], "process", "processes")
    deleted, freed = f"{done['files_deleted']:,} more", size(done["bytes_freed"])
    text = f"folded {folded} of {processes}, deleted {deleted}, freed {freed}"
    if is_planned:
        text = f"would fold {folded} of {processes}, delete {deleted}, and free {freed}"
    output.print_text(text)
    if is_planned and done["files"]:
        rows = [(file["name"], file["action"]) for file in done["files"]]
        output.print_tables([Table("Files", ("file", "what becomes of it"), rows)])
    if done["left_alone"]:
        rows = [(left["path"], left["reason"]) for left in done["left_alone"]]
        output.print_tables([Table("Left alone", ("file", "reason"), rows)])
