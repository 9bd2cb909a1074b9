"""Fresh interpreters, for what can be seen only from the first import on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def run(script: str, *arguments: str | Path, **variables: str | Path) -> str:
    """Run a script in a new interpreter, with warnings as errors, and return what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.lower() != "prometheus_multiproc_dir"
    }
    environment |= {name: str(value) for name, value in variables.items()}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout
