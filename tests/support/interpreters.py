"""Fresh interpreters, for what can be seen only from the first import on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TESTS = Path(__file__).resolve().parent.parent


def command(script: str, *arguments: str | Path) -> list[str]:
    """Return the command that runs a script in a new interpreter, with warnings as errors."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)]


def environment(**variables: str | Path) -> dict[str, str]:
    """Return the environment of a script: it finds the modules of the tests, and no directory."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.lower() != "prometheus_multiproc_dir"
    }
    paths = [
        str(TESTS),
        str(TESTS / "support" / "apps"),
        *filter(None, [inherited.get("PYTHONPATH")]),
    ]
    inherited["PYTHONPATH"] = os.pathsep.join(paths)
    return inherited | {name: str(value) for name, value in variables.items()}


def run(
    script: str,
    *arguments: str | Path,
    within: Sequence[str] = (),
    seconds: float = 60,
    **variables: str | Path,
) -> str:
    """Run a script in a new interpreter, with warnings as errors, and return what it printed.

    `within` is a command that takes the interpreter's as its arguments.
    """
    result = subprocess.run(
        [*within, *command(script, *arguments)],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == "", result.stderr
    return result.stdout


@contextmanager
def another(
    directory: Path, script: str, **variables: str | Path
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a script beside this process until the context is left; give it and its first number.

    The script prints a number when it is ready, mostly its pid, and ends when it has read a line.
    """
    process = subprocess.Popen(
        command(script),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
        # Until the last process that has its standard output has ended.
        process.communicate("\n", timeout=60)
    finally:
        process.kill()
        process.wait()
