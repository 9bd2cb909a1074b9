"""What scrapes of this process had to leave out, and the log lines about it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

Report: TypeAlias = tuple[str, int | None, str, int, Literal["foreign", "file", "metric"]]
"""As the core gives it: path, offset, reason, entries, and what the reason is about: what is no
metrics file, a metrics file, or a metric whatever the file."""

Compacted: TypeAlias = tuple[int, int, int, int, list[tuple[str, str]], bool]
"""What compaction did, as the core gives it: processes, files folded, files deleted, bytes freed,
paths that were left alone and why, and whether another compaction was at work all the time."""

_Key = TypeVar("_Key")

logger = logging.getLogger("multiprom")


class LeftOut(NamedTuple):
    """A file, the rest of a file, or some entries of a file that a scrape had to leave out."""

    path: str
    """The file."""
    offset: int | None
    """Where the damage is, in bytes; None if the file was not read at all."""
    reason: str
    """What is wrong."""
    entries: int
    """How many entries were skipped because of their keys; 0 where it cannot be known."""


# Plain dictionaries and single operations on them: a lock could be held when a signal handler, a
# GC callback or a fork comes in.
_left_out: dict[tuple[str, str], LeftOut] = {}
_logged: dict[str, object] = {}

# Files that were reported are forgotten beyond this number, and may be reported once more.
_LOGGED_MAX = 10_000


def left_out() -> tuple[LeftOut, ...]:
    """Give what the latest scrapes of this process had to leave out, by path.

    One item for each file and reason. A scrape forgets what was wrong before with the files that
    it reads, so an item goes when its file was repaired or removed.
    """
    # A list first: other threads may change the dictionary while it is sorted.
    return tuple(sorted(list(_left_out.values()), key=lambda item: (item.path, item.reason)))  # noqa: C414


def is_first(seen: dict[_Key, object], key: _Key) -> bool:
    """Say whether nobody has asked this of `key` before; of several threads one is told so."""
    token = object()
    # setdefault is atomic.
    return seen.setdefault(key, token) is token


def report(
    reports: Iterable[Report], directory: str | None = None, files: Iterable[str] = ()
) -> None:
    """Keep what a scrape left out, and log each damaged file or changed metric once.

    Args:
        reports: What the scrape left out.
        directory: The directory, if the scrape was of a whole one.
        files: The files, if it was of these.

    """
    found = {
        (path, reason): (LeftOut(path, offset, reason, entries), about)
        for path, offset, reason, entries, about in reports
    }
    if _left_out:
        read = set(files)
        home = None if directory is None else os.path.normpath(directory)
        for path, reason in list(_left_out):
            was_read = path in read or os.path.normpath(os.path.dirname(path)) == home  # noqa: PTH120
            if was_read and (path, reason) not in found:
                _left_out.pop((path, reason), None)
    for key, (item, about) in found.items():
        _left_out[key] = item
        if len(_logged) >= _LOGGED_MAX:
            _logged.clear()
        if is_first(_logged, item.reason if about == "metric" else item.path):
            # Nothing is lost of files that other programs keep in the directory.
            _log(item, logging.INFO if about == "foreign" else logging.WARNING)


def _log(item: LeftOut, level: int) -> None:
    what = repr(item.path)
    if item.entries:
        what = f"{item.entries} entries of {what}, the first at offset {item.offset}"
    elif item.offset is not None:
        what = f"the rest of {what} from offset {item.offset}"
    logger.log(level, "left out %s: %s", what, item.reason)
