"""What all tables have: the machine that they were measured on, and how they are printed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def about(directory: Path, libraries: Iterable[str]) -> str:
    """Return the lines that say where this was measured, and with which libraries."""
    versions = ", ".join(map(_version, libraries))
    return (
        f"{_processor()}, {_cores()} cores, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}; "
        f"files on {_file_system(directory)}.\n{versions}."
    )


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 2) -> None:
    """Print a Markdown table; its columns are numbers but for the first `texts`."""
    print()
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join(["---"] * texts + ["---:"] * (len(header) - texts)) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def progress(message: str) -> None:
    """Tell on stderr what is going on: stdout is the table."""
    print(f"bench: {message}", file=sys.stderr, flush=True)


def _processor() -> str:
    """Return the name of the processor as well as the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    """Return the type of the file system that holds the directory."""
    if sys.platform != "linux":
        return "the default temporary directory"
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    resolved = directory.resolve()
    holding = [mount for mount in mounts if resolved.is_relative_to(mount[0])]
    # Of two mounts at one point the later hides the earlier.
    return max(enumerate(holding), key=lambda item: (len(item[1][0]), item[0]))[1][1]


def _cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0))


def _version(library: str) -> str:
    """Return name and installed version of a library."""
    try:
        return f"{library} {importlib.metadata.version(library)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{library} not installed"
