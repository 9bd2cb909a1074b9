"""The sign of life of a server: a lock on a file in its directory, for as long as it runs.

A server may hold no metrics file for a while, when its only worker has just been recycled. What it
counted is in archives then, which another server that starts on the directory must not take for
those of an earlier run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from multiprom.locks import make_lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_NAME = ".multiprom.users.lock"
"""The file. It is never deleted, since two could hold it alone then, and no `*.db`."""

# How long a start waits for another that removes what is left over, and how often it looks.
_WAIT_SECONDS = 10.0
_LOOK_SECONDS = 0.01

# The descriptors that hold the locks of this process's server, by directory. They are never closed:
# the kernel drops a lock with the last process that has its descriptor. Those are the master and
# its forks, which are the server too; a program that they execute is not, and does not have it.
_held: dict[str, int] = {}
# The directories in which a sign could not be given.
_owed: dict[str, None] = {}


@contextlib.contextmanager
def given(directory: str, *, joins: bool = False) -> Iterator[bool]:
    """Give the sign of life of a server that starts, and say whether no other server lives.

    If so, no other can start within the context. The sign stays when the context is left.

    Args:
        directory: The directory of the server, which must be there.
        joins: Whether the server is a part of one that lives, so that it need not be alone.

    Raises:
        TimeoutError: Another server has been starting for a long time.
        OSError: The file cannot be opened or locked.

    """
    with contextlib.suppress(KeyError):
        # Its own sign, from an earlier start, is not another's.
        os.close(_held.pop(directory))
    _owed[directory] = None
    descriptor = make_lock(os.path.join(directory, LOCK_NAME))  # noqa: PTH118
    try:
        is_alone = _lock(descriptor, may_be_alone=not joins)
    except BaseException:
        os.close(descriptor)
        raise
    _held[directory] = descriptor
    try:
        yield is_alone
    finally:
        # This is no single step: for a moment nobody has the lock, and another start may get it for
        # itself alone. That is as good as if it had begun before: this one waits until it has
        # ended, and has not counted anything by then.
        _lock(descriptor, may_be_alone=False)
        _owed.pop(directory, None)


def renew(directory: str) -> None:
    """Give the sign of life that could not be given at the start, if it can be given at once.

    Raises:
        OSError: It cannot be given still.

    """
    if directory not in _owed:
        return
    descriptor = _held.get(directory)
    if descriptor is None:
        descriptor = _held[directory] = make_lock(os.path.join(directory, LOCK_NAME))  # noqa: PTH118
    if try_lock(descriptor, fcntl.LOCK_SH):
        _owed.pop(directory, None)


def _lock(descriptor: int, *, may_be_alone: bool) -> bool:
    """Lock for oneself alone if that is wanted and nobody else has a lock, else with others.

    Returns whether it is locked for oneself alone.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        if may_be_alone and try_lock(descriptor, fcntl.LOCK_EX):
            return True
        if try_lock(descriptor, fcntl.LOCK_SH):
            return False
        # Somebody is alone just now, who is starting: that may end with one more living, or fail.
        if time.monotonic() >= deadline:
            raise TimeoutError("another server has been starting for a long time")
        time.sleep(_LOOK_SECONDS)
