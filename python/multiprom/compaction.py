"""`compact`: the files of dead processes, folded into archives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from multiprom import _core, environment

if TYPE_CHECKING:
    from collections.abc import Iterable


class LeftAlone(NamedTuple):
    """A file that had to be left alone; all that it counts still counts."""

    path: str
    """The file."""
    reason: str
    """Why. A reason of the system's begins with its number, such as `[Errno 13]`."""


class Compaction(NamedTuple):
    """What `compact` did."""

    processes: int
    """How many processes had files that were folded."""
    files_folded: int
    """How many files were folded, by this call."""
    files_deleted: int
    """How many were deleted without being folded: of live gauges, empty, or dropped ones."""
    bytes_freed: int
    """The room on the disk that all files had that are gone."""
    left_alone: tuple[LeftAlone, ...]
    """What had to be left alone, such as damaged files."""
    busy: bool
    """Whether nothing was done because another compaction was at work all the time."""


def compact(
    path: str | os.PathLike[str] | None = None,
    pids: Iterable[int | str] = (),
    *,
    drop_all: bool | None = None,
    timeout: float = 10.0,
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
            MULTIPROM_DROP_ALL is on in the environment (on, 1, true or yes).
        timeout: So many seconds it waits at most for another compaction of the directory to end,
            which may not do the same work: a sweep does not know `pids`. Then the result is `busy`.

    Raises:
        TypeError: `pids` is one str or bytes, or holds something that is neither int nor str.
        ValueError: No path is given or set, it is not a directory, or `timeout` is negative or NaN.
        OSError: The directory could not be locked or listed.

    """
    directory = environment.directory(path)
    if not os.path.isdir(directory):  # noqa: PTH112
        # As MultiProcessCollector, which says it of the variable.
        raise ValueError(f"{directory!r} is not a directory")
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    done = _core.compact(directory, _names(pids), drop_all, timeout)
    return Compaction(*done[:4], tuple(LeftAlone(*left) for left in done[4]), done[5])


def _names(pids: Iterable[int | str]) -> list[str]:
    if isinstance(pids, (str, bytes)):
        # Each character would name a process.
        raise TypeError(f"pids must be several process identifiers, not one: {pids!r}")
    pids = list(pids)
    for pid in pids:
        if not isinstance(pid, (int, str)) or isinstance(pid, bool):
            raise TypeError(f"a process identifier must be an int or a str, not: {pid!r}")
    return [str(pid) for pid in pids if environment.can_be_in_a_name(str(pid))]
