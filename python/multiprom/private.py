"""The private directory of a server whose user has named none: a temporary directory.

Each process of the server holds a slot of it, so the last process that ends removes it. What a
killed server left behind has slots, all of them free, and the next server of its user removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from multiprom import _core
from multiprom.environment import VARIABLE

_PREFIX = "multiprom-private-"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - containers have it where all else is read-only


def find_or_make() -> str:
    """Return the private directory of the master that this one replaces (USR2), else a new one.

    Raises RuntimeError if there is no place for it.
    """
    try:
        for path in in_use(os.geteuid()):
            if is_of_old_master(path):
                return path
        # A new one has its slot before it has the name by which another server could find it.
        new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=_places()[0]))
        _core.hold_slot(str(new), "master")
        return str(new.rename(new.with_name(new.name[1:])))
    except OSError as error:
        text = f"cannot make a temporary directory for metrics files ({error}): set {VARIABLE} to "
        raise RuntimeError(f"{text}a directory that the workers can write to") from None


def _places() -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [tempfile.gettempdir(), _SHARED_MEMORY]
    return [_SHARED_MEMORY]


def in_use(owner: int) -> list[str]:
    """Return the private directories of a user that processes use, and remove the others."""
    used = []
    for path in (found for place in _places() for found in Path(place).glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == owner and _core.slots(str(path)):
                if _holders(str(path)):
                    used.append(str(path))
                else:
                    shutil.rmtree(path, ignore_errors=True)
    return used


def is_of_old_master(path: str) -> bool:
    """Say whether this is the private directory of the master that an upgrade (USR2) replaces."""
    old_master = os.environ.get("GUNICORN_PID")
    return Path(path).name.startswith(_PREFIX) and old_master in {pid for pid, _ in _holders(path)}


def remove(path: str, *, wait_seconds: float) -> None:
    """Free the slot of this process, and remove the directory unless another process uses it.

    Waits for processes that are just dying, but not beside another master, which lives on.
    """
    _core.leave(path)
    deadline = time.monotonic() + wait_seconds
    while holders := _holders(path):
        if time.monotonic() >= deadline or "master" in {role for _, role in holders}:
            return
        time.sleep(0.01)
    shutil.rmtree(path, ignore_errors=True)


def _holders(path: str) -> list[tuple[str, str]]:
    """Return the pid and role of each process that holds a slot; empty where they are unknown."""
    try:
        held = [who for _, is_held, _, who in _core.slots(path) if is_held]
    except OSError:
        return []
    return [("", "") if who is None else (str(who[0]), who[3]) for who in held]
