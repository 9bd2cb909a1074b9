"""Locks on files, between processes."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int, operation: int) -> bool:
    """Lock an open file with `fcntl.LOCK_EX` or `fcntl.LOCK_SH`; False if another's is in the way.

    Raises:
        OSError: It cannot be locked at all, such as on a file system without locks.

    """
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
