"""gunicorn's configuration of who deletes all files of dead workers, so that they become few."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def child_exit(server: Any, worker: Any) -> None:
    """Delete what the worker has counted."""
    del server
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"*_{worker.pid}.db"):
        path.unlink()
