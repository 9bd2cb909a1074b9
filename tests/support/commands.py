"""Commands of the documents: a server that they start, requests to it, and its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a shell that has the programs of this one, and no directory."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.lower() != "prometheus_multiproc_dir" and not name.startswith("MULTIPROM_")
    }
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
        **variables,
    }


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> str:
    """Return the body of a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        body: bytes = response.read()
        return body.decode()


def eventually(port: int, path: str, expected: str) -> str:
    """Ask for a page until it has a line that is expected."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            answer = get(port, path)
        except (urllib.error.URLError, ConnectionError) as error:
            answer = str(error)
        if expected in answer.splitlines():
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{path} never had {expected!r}:\n{answer}")
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that these started."""
    direct = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return direct + [grandchild for child in direct for grandchild in children(child)]


@contextmanager
def serving(script: str, folder: Path, **variables: str) -> Iterator[tuple[int, Path]]:
    """Run a shell script whose last line starts a server; give its process and its log."""
    *lines, last = script.strip().splitlines()
    # With `exec` the server is our child, so that no shell between us gets the signals.
    words = last.split(" ")
    program = next(number for number, word in enumerate(words) if "=" not in word)
    words.insert(program, "exec")
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["sh", "-euc", "\n".join([*lines, " ".join(words)])],
            cwd=folder,
            env=environment(folder, **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield server.pid, log
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert "Traceback" not in log.read_text(), log.read_text()
