"""A disk that is full or not as a script wants it, for scripts in interpreters of their own.

A small tmpfs where the system lets us mount one: see `disks`. Elsewhere a limit on the size of
files, which makes the same calls fail.
"""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

_KIB = 1024
_SIZE = 4096 * _KIB


class Disk:
    """A disk with a directory for metrics, which the variable names."""

    def __init__(self, place: str) -> None:
        self._place = Path(place)
        self.is_mounted = bool(os.environ["MOUNTS_ARE_PRIVATE"])
        if self.is_mounted:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=777", "none", place]
            subprocess.run(mount, check=True)
        self.directory = self._place / "metrics"
        self.directory.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.directory)
        self._ballast = self._place / "ballast"

    def fill(self) -> None:
        """Leave no page: no file can be made longer than it is."""
        if not self.is_mounted:
            sizes = [file.stat().st_size for file in self.directory.glob("*")]
            resource.setrlimit(resource.RLIMIT_FSIZE, (max([_KIB, *sizes]), -1))
            return
        with self._ballast.open("wb") as file:
            size = _SIZE
            while size >= _KIB:
                if not _lengthen(file.fileno(), size):
                    size //= 2

    def free(self) -> None:
        """Give the space back."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        self._ballast.unlink(missing_ok=True)


def _lengthen(descriptor: int, size: int) -> bool:
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
    except OSError:
        return False
    return True
