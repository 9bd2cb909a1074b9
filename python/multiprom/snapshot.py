"""The files of a directory for code of the program's own, so that each count is seen once.

As `src/store/snapshot.rs`: no lock is taken at first. If an archive came or was replaced while the
files were merged, a file may have moved into it, and all is merged once more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING, TypeVar

from multiprom import _core, reports
from multiprom.locks import open_lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Merged = TypeVar("_Merged")
_Identity = tuple[int, int]

# As in `format/file_name.rs` and `sys/lock.rs`: how the names of archives end, and the file whose
# lock whoever compacts holds.
_ARCHIVE_END = "_compacted.db"
_LOCK_NAME = ".multiprom.lock"

# So often merging begins anew before it asks for the lock, for which it waits so long at a time.
_ROUNDS = 3
_LOCK_SECONDS = 0.2
_LOOK_SECONDS = 0.001
# After so long it gives up: a scrape that fails for once is better than a wrong one.
_GIVE_UP_SECONDS = 8.0

# The descriptors of locks that this process holds. Single operations on a set need no lock.
_locks: set[int] = set()


def _close_inherited() -> None:
    """Close, in the child of a fork, what would keep the lock if the parent is killed."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_close_inherited)


def merged(path: str, merge: Callable[[list[str]], _Merged]) -> _Merged:
    """Give what `merge` makes of the files of a directory, in name order.

    It may be called several times, and must have read all when it returns.

    Raises:
        TimeoutError: Compaction never paused for a reading.
        OSError: The directory could not be read.

    """
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    rounds = 0
    while True:
        with contextlib.ExitStack() as stack:
            is_locked = rounds >= _ROUNDS and stack.enter_context(_locked(path))
            files = _files(path)
            # Nobody can get the inode of a file that is open.
            before = {file: stack.enter_context(_opened(file)) for file in _archives(files)}
            # While these archives are open their journals name all that is in them.
            try:
                result = merge(_core.unspent(files))
            except OSError:
                # Perhaps of a file that was folded before it was opened.
                if is_locked or before == _identities(path):
                    raise
            else:
                if is_locked or before == _identities(path):
                    return result
        rounds += 1
        if rounds > _ROUNDS and time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "compaction never paused for a reading", path)


def _files(path: str) -> list[str]:
    files, left_out = _core.list_directory(path)
    reports.report(left_out, directory=path)
    return files


def _identities(path: str) -> dict[str, _Identity | None]:
    # What is left out was reported before, and `merge` has reported more since.
    files, _ = _core.list_directory(path)
    return {file: _identity(file) for file in _archives(files)}


def _archives(files: list[str]) -> list[str]:
    return [file for file in files if file.endswith(_ARCHIVE_END)]


@contextlib.contextmanager
def _opened(file: str) -> Iterator[_Identity | None]:
    """Keep a file open, if that can be done, and give its identity."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        yield _identity(file)
        return
    try:
        yield _identity(descriptor)
    finally:
        os.close(descriptor)


def _identity(file: str | int) -> _Identity | None:
    try:
        found = os.stat(file)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Keep others from compacting the directory; False if that cannot be done just now."""
    try:
        descriptor = open_lock(os.path.join(path, _LOCK_NAME))  # noqa: PTH118
    except OSError:
        yield False
        return
    _locks.add(descriptor)
    is_locked = False
    try:
        # Where it cannot be locked at all it may still go well the next time.
        with contextlib.suppress(OSError):
            is_locked = _lock(descriptor)
        yield is_locked
    finally:
        # It is not there in a child that `merge` has forked.
        if descriptor in _locks:
            _locks.discard(descriptor)
            # Not left to closing: a fork in another thread may have copied the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + _LOCK_SECONDS
    while not try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
