"""Files that the scraping process may not read, such as those of another user.

An empty page with status 200 would show a service without metrics as a sound one (`up` is 1).
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.files import counter, write, write_ours
from support.interpreters import command, environment

if TYPE_CHECKING:
    from pathlib import Path

SCRAPE = """
import os, sys
import multiprom
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
from prometheus_client import CollectorRegistry
registry = CollectorRegistry()
multiprom.generate_latest(registry)
collector = multiprom.MultiProcessCollector(registry)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for scrape in (lambda: multiprom.generate_latest(registry), collector.collect):
    try:
        print(len(scrape()) > 0)
    except OSError as error:
        print(type(error).__name__, error.filename == sys.argv[1], "of 2" in str(error))
"""


def scrape(directory: Path, file: Path) -> str:
    done = subprocess.run(
        command(SCRAPE, file),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def files(directory: Path) -> list[Path]:
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == os.getuid() and parent.name.startswith("pytest"):
            parent.chmod(0o755)
    directory.parent.chmod(0o755)
    directory.chmod(0o755)
    return [
        write_ours(directory / "counter_1.db", counter(1)),
        write(directory / "counter_2.db", [counter(1)]),
    ]


def test_none_can_be_read(files: list[Path], directory: Path) -> None:
    for file in files:
        file.chmod(0o000)
    assert scrape(directory, files[0]) == "PermissionError True True\n" * 2


def test_some_can_be_read(files: list[Path], directory: Path) -> None:
    files[0].chmod(0o000)
    files[1].chmod(0o644)
    assert scrape(directory, files[0]) == "True\n" * 2


def test_none_is_there(files: list[Path], directory: Path) -> None:
    for file in files:
        file.unlink()
    assert "PermissionError" not in scrape(directory, files[0])
