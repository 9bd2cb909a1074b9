"""The `multiprom` command, run in a process of its own as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from support.interpreters import environment

if TYPE_CHECKING:
    from pathlib import Path

# prometheus_client leaves a socket open where TLS cannot be set up.
WARNINGS = ("-W", "error", "-W", "default::ResourceWarning")
COMMAND = (sys.executable, *WARNINGS, "-m", "multiprom")

# Root may read everything; without these two it may not.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def run(
    *arguments: str | Path, code: int = 0, privileges: bool = True, **variables: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends; hold it to an exit code, and to no traceback."""
    within = WITHOUT_PRIVILEGES if not privileges and os.geteuid() == 0 else ()
    done = subprocess.run(
        [*within, *COMMAND, *map(str, arguments)],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def run_json(*arguments: str | Path, code: int = 0, **variables: Any) -> dict[str, Any]:
    """Run the command with --json and return what it printed."""
    done = run(*arguments, "--json", code=code, **variables)
    document: dict[str, Any] = json.loads(done.stdout)
    assert (document["schema"], document["command"]) == (1, arguments[0])
    return document
