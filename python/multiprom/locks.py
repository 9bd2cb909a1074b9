"""Locks on files, between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

# No link, which could lead anywhere where others may write to the directory, and no FIFO, which
# would be waited for.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


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


def open_lock(path: str) -> int:
    """Open a file that is there to be locked; return its descriptor.

    Raises:
        OSError: It is not there, it is no regular file, or may not be read.

    """
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "the lock file is no regular file", path)


def make_lock(path: str) -> int:
    """Open such a file, or make it, so that whoever can read its directory can lock it.

    As `src/sys/lock.rs` does.

    Raises:
        OSError: It cannot be made, it is no regular file, or may not be read.

    """
    directory, name = os.path.split(path)
    # Kept open: by its path it could be another one by the time that the file is given away.
    home = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
        descriptor = os.open(name, flags, 0o600, dir_fd=home)
        found = os.fstat(home)
    except FileExistsError:
        return open_lock(path)
    finally:
        os.close(home)
    # The owner is refused to whoever is not root, and the group to whoever is not in it.
    for owner in (found.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, found.st_gid)
            break
    os.fchmod(descriptor, 0o600 | stat.S_IMODE(found.st_mode) & 0o666)
    return descriptor
