"""Workers that die: copies of the files of one, as multiprom leaves them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# What multiprom's writer has in bytes 4 to 8, where prometheus_client has zeros.
_MAGIC = b"MPw1"
# The names of files end with it.
_IDENTITY = "1000"


def template(directory: Path, folder: Path) -> Path:
    """Copy the files of the first process of a directory into a folder, with multiprom's magic."""
    folder.mkdir()
    for file in directory.glob(f"*_{_IDENTITY}.db"):
        content = bytearray(file.read_bytes())
        content[4:8] = _MAGIC
        (folder / file.name).write_bytes(content)
    return folder


def kill(worker: Path, directory: Path, number: int) -> None:
    """Put the files of a worker that died some time ago into the directory."""
    for file in worker.iterdir():
        target = directory / file.name.replace(_IDENTITY, str(number))
        # With its times: what was written just now keeps a compaction waiting for the clock.
        shutil.copyfile(file, target)
        os.utime(target, ns=(0, number * 10**9))
