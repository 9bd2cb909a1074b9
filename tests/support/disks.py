"""Scripts in fresh interpreters that have a small disk of their own: see `full_disk`."""

from __future__ import annotations

import functools
import subprocess
from typing import TYPE_CHECKING

from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def private_mounts() -> tuple[str, ...]:
    """Return the command within which a script may mount, so that nothing is left of it after.

    Empty if the system has no such command, or refuses.
    """
    for command in (
        ("unshare", "--mount"),
        ("unshare", "--user", "--map-root-user", "--mount"),
    ):
        attempt = [*command, "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
        try:
            subprocess.run(attempt, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return ()


def run_with_disk(script: str, place: Path) -> str:
    """Run a script that finds a `disk` and the `messages` that were logged."""
    place.mkdir(exist_ok=True)
    beginning = """
import os, sys, time
from support.full_disk import Disk
from support.warned import messages
disk = Disk(sys.argv[1])
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram, Summary, values
from support.scripts import scrape

def written(pattern="counter_*.db"):
    from support import files
    found = {}
    for file in sorted(disk.directory.glob(pattern)):
        found |= files.values_of(file)
    return found

def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, (messages, written())
        time.sleep(0.01)
"""
    within = private_mounts()
    return run(beginning + script, place, within=within, MOUNTS_ARE_PRIVATE="1" if within else "")
