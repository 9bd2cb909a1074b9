"""Folders that other users can reach."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def let_others_reach(folder: Path) -> Path:
    """Let other users come as far as a folder, through what this user owns above it."""
    for each in (folder, *folder.parents):
        status = each.stat()
        if status.st_uid == os.geteuid() and status.st_mode & 0o011 != 0o011:
            each.chmod(status.st_mode | 0o011)
    return folder
