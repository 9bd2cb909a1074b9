"""gunicorn applies every global of a configuration that is named like one of its settings.

An import such as `from os import umask`, or a helper called `config`, would silently change the
server of everybody who uses multiprom.gunicorn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import python_environment

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json
from gunicorn.config import KNOWN_SETTINGS, Config
import multiprom.gunicorn

star = {}
exec("from multiprom.gunicorn import *", star)
del star["__builtins__"]
settings = {setting.name: setting for setting in KNOWN_SETTINGS}
shared = sorted(settings.keys() & vars(multiprom.gunicorn).keys())
for name in shared:
    Config().set(name, getattr(multiprom.gunicorn, name))
print(json.dumps({"known": len(settings), "shared": shared, "star": sorted(star)}))
"""


@pytest.mark.parametrize(
    ("version", "hooks"),
    [
        ("23", ["child_exit", "nworkers_changed", "on_starting"]),
        ("newest", ["child_exit", "dirty_worker_exit", "nworkers_changed", "on_starting"]),
    ],
)
def test_only_the_hooks_are_named_like_settings(
    version: str, hooks: list[str], tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env=python_environment(version, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    assert found["known"] > 80, "gunicorn's list of settings was not found"
    assert found["shared"] == hooks
    star = ["child_exit", "dirty_worker_exit", "nworkers_changed", "on_starting"]
    assert found["star"] == star
    assert list((tmp_path / "tmp").iterdir()) == [], "its private directory outlived the process"
