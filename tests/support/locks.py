"""The lock of a directory, held as another process would."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def compacting(directory: Path) -> Iterator[IO[str]]:
    """Let somebody else compact the directory meanwhile, or until the file is unlocked."""
    with (directory / ".multiprom.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
