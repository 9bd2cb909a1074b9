"""What gunicorn's hook does to the files of a worker that has exited."""

from __future__ import annotations

from multiprom import Compaction, LeftAlone, _core


def fold(path: str, pid: object) -> Compaction:
    """Fold the files of a process that has just been reaped; say what was done."""
    done = _core.fold_dead(path, str(pid))
    return Compaction(*done[:4], tuple(LeftAlone(*left) for left in done[4]), done[5])
