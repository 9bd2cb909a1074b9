"""`compact`: the files of dead processes, folded into archives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from multiprom import _core

if TYPE_CHECKING:
    from collections.abc import Iterable

# How long `compact` waits for another compaction to end. That does the same work.
_WAIT_SECONDS = 0.05


class LeftAlone(NamedTuple):
    """A file that had to be left alone; all that it counts still counts."""

    path: str
    """The file."""
    reason: str
    """Why."""


class Compaction(NamedTuple):
    """What `compact` did."""

    processes: int
    """How many processes had files that were folded."""
    files_folded: int
    """How many files are in archives now."""
    files_deleted: int
    """How many were deleted without being folded: of live gauges, empty, or dropped ones."""
    bytes_freed: int
    """The size of all files that are gone."""
    left_alone: tuple[LeftAlone, ...]
    """What had to be left alone, such as damaged files."""
    busy: bool
    """Whether nothing was done because another compaction of the directory is at work."""


def compact(
    path: str | os.PathLike[str] | None = None,
    pids: Iterable[int | str] = (),
    *,
    drop_all: bool | None = None,
) -> Compaction:
    """Fold the files of dead processes into one archive for each kind; no total changes.

    A process is dead if it wrote with multiprom and does not hold its file any more, or if it is
    among `pids`. Files of prometheus_client's own writer say nothing of their process: they are
    folded only if it is named. A file that somebody holds is never folded.

    Files of `live*` gauges are deleted. Those of `all` gauges stay, a series for each process,
    unless `drop_all` says otherwise.

    Args:
        path: The directory; default: PROMETHEUS_MULTIPROC_DIR, or its lower-case form.
        pids: Process identifiers of which the caller knows that they are dead.
        drop_all: Whether to delete the files of dead processes' `all` gauges; default: whether
            MULTIPROM_DROP_ALL is 1 in the environment.

    Raises:
        ValueError: No path is given or set.
        OSError: The directory could not be locked or listed.

    """
    if path is None:
        lower_case = os.environ.get("prometheus_multiproc_dir")  # noqa: SIM112
        path = os.environ.get("PROMETHEUS_MULTIPROC_DIR", lower_case)
    if path is None:
        raise ValueError("env PROMETHEUS_MULTIPROC_DIR is not set")
    if drop_all is None:
        drop_all = os.environ.get("MULTIPROM_DROP_ALL") == "1"
    names = [name for name in map(str, pids) if _can_be_in_a_name(name)]
    done = _core.compact(os.fsdecode(path), names, False, drop_all, _WAIT_SECONDS, None)
    processes, files_folded, files_deleted, bytes_freed, left, busy = done
    left_alone = tuple(LeftAlone(path, reason) for path, reason in left)
    return Compaction(processes, files_folded, files_deleted, bytes_freed, left_alone, busy)


def _can_be_in_a_name(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
