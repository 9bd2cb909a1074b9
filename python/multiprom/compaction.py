"""`compact`: the files of dead processes, folded into archives."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from multiprom import _core, environment
from multiprom.reports import Left, is_first, logger

if TYPE_CHECKING:
    from collections.abc import Iterable

# A sweep is made at most so often.
_SWEEP_SECONDS = 5.0
# When each directory was last swept, by a scrape or not, and what was warned of. Single operations
# on a dictionary need no lock.
_swept: dict[tuple[str, bool], float] = {}
_warned: dict[tuple[str, str], object] = {}

# What nobody has asked for folds or deletes at most so many files: it must not take long.
_FILES_AT_ONCE = 256

# To fold a file all of the archive is read and written, 5 ms for a MiB: gunicorn's master and a
# process that begins to count leave what is more than this to a scrape.
_BYTES_AT_ONCE = 16 << 20

# How long the core waits at once for another compaction to end: no signal is handled meanwhile.
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
    """How many files were folded, by this call."""
    files_deleted: int
    """How many were deleted without being folded: of live gauges, empty, or dropped ones."""
    bytes_freed: int
    """The size of all files that are gone."""
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
    if drop_all is None:
        drop_all = _drops_all()
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative or NaN: {timeout!r}")
    names = _names(pids)
    deadline = time.monotonic() + timeout
    while True:
        remaining = max(deadline - time.monotonic(), 0.0)
        done = _core.compact(
            directory,
            pids=names,
            named_only=False,
            drop_all=drop_all,
            wait_seconds=min(remaining, _WAIT_SECONDS),
            max_files=None,
            max_bytes=None,
            remembers=False,
        )
        compaction = _compaction(done)
        if not compaction.busy or remaining <= _WAIT_SECONDS:
            return compaction


def is_automatic() -> bool:
    """Say whether files of dead processes are folded without being asked for.

    They are unless MULTIPROM_COMPACTION is off in the environment (off, 0, false or no).
    """
    return environment.is_on("MULTIPROM_COMPACTION", default=True)


def fold(path: str, pids: Iterable[int | str]) -> tuple[Compaction, bool]:
    """Fold the files of processes that are known to be dead: for hooks, which must be quick.

    Says what was done, and whether all was tried and nothing failed that may go the next time.

    It waits at most 50 ms for another compaction, and may leave something for the next call: of
    more than 256 files the rest; and for a scrape, what a large archive would take.

    Raises:
        OSError: The directory could not be locked or listed.

    """
    done = _core.compact(
        path,
        pids=_names(pids),
        named_only=True,
        drop_all=_drops_all(),
        wait_seconds=_WAIT_SECONDS,
        max_files=_FILES_AT_ONCE,
        max_bytes=_BYTES_AT_ONCE,
        remembers=False,
    )
    *_, left_alone, busy, is_cut_short = done
    _warn(path, left_alone)
    has_failed = any(concern == "passing" for _, _, concern in left_alone)
    return _compaction(done), not (busy or is_cut_short or has_failed)


def sweep(path: str, *, scrapes: bool = False) -> None:
    """Fold what the dead have left in a directory, at most once in some seconds; raises nothing.

    This is what happens where no hook tells who has died: when a process begins to write, and when
    one `scrapes`, which takes its time anyway if there is a large archive.
    """
    now = time.monotonic()
    # A scrape does what others leave to it, so theirs do not put it off.
    occasion = path, scrapes
    if not is_automatic() or now - _swept.get(occasion, -_SWEEP_SECONDS) < _SWEEP_SECONDS:
        return
    _swept[occasion] = now
    try:
        *_, left_alone, _, _ = _core.compact(
            path,
            pids=[],
            named_only=False,
            drop_all=_drops_all(),
            wait_seconds=0.0,
            max_files=_FILES_AT_ONCE,
            max_bytes=None if scrapes else _BYTES_AT_ONCE,
            remembers=True,
        )
        _warn(path, left_alone)
    except Exception as error:  # noqa: BLE001 - nobody asked for it, such as in a directory of others
        logger.debug("could not compact %r: %r", path, error)


def _warn(directory: str, left_alone: Iterable[Left]) -> None:
    """Log each reason for which files of a directory stay until somebody does something, once."""
    for path, reason, concern in left_alone:
        if concern == "lasting" and is_first(_warned, (directory, reason)):
            logger.warning(
                "files of dead processes stay and count in %r, such as %r: %s",
                directory,
                os.path.basename(path),  # noqa: PTH119
                reason,
            )


def _drops_all() -> bool:
    return environment.is_on("MULTIPROM_DROP_ALL", default=False)


def _compaction(done: tuple[int, int, int, int, list[Left], bool, bool]) -> Compaction:
    processes, files_folded, files_deleted, bytes_freed, left, busy, _ = done
    left_alone = tuple(LeftAlone(path, reason) for path, reason, _ in left)
    return Compaction(processes, files_folded, files_deleted, bytes_freed, left_alone, busy)


def _names(pids: Iterable[int | str]) -> list[str]:
    if isinstance(pids, (str, bytes)):
        # Each character would name a process.
        raise TypeError(f"pids must be several process identifiers, not one: {pids!r}")
    names = []
    for pid in pids:
        if not isinstance(pid, (int, str)) or isinstance(pid, bool):
            raise TypeError(f"a process identifier must be an int or a str, not: {pid!r}")
        names.append(str(pid))
    return [name for name in names if environment.can_be_in_a_name(name)]
