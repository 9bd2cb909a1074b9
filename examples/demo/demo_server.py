"""gunicorn with the demo application."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HOST = "127.0.0.1"
WORKERS = 4
MAX_REQUESTS = 40
JITTER = 20


class DemoError(Exception):
    """What the demo cannot go on with, in a line for the user."""


class Server:
    """gunicorn with the demo application, and what its log tells of its workers."""

    def __init__(self, port: int, workspace: Path) -> None:
        self.port = port
        self.booted: list[int] = []
        self.dead: set[int] = set()
        self.log: list[str] = []
        # No directory is configured: multiprom.gunicorn makes a private one, here in the workspace
        # where we find it. gunicorn puts its control socket beside it.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.upper() not in {"PROMETHEUS_MULTIPROC_DIR", "GUNICORN_CMD_ARGS"}
        }
        environment |= {
            "TMPDIR": str(workspace),
            "XDG_RUNTIME_DIR": str(workspace),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.process = subprocess.Popen(
            [
                *[sys.executable, "-m", "gunicorn", "-c", "python:multiprom.gunicorn"],
                f"--bind={HOST}:{port}",
                f"--workers={WORKERS}",
                f"--max-requests={MAX_REQUESTS}",
                f"--max-requests-jitter={JITTER}",
                "--graceful-timeout=5",
                "app:app",
            ],
            cwd=FOLDER,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C is for us alone: we stop gunicorn when we have said goodbye.
            start_new_session=True,
        )
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            if match := re.search(r"Booting worker with pid: (\d+)", line):
                self.booted.append(int(match[1]))
            elif match := re.search(r"marked worker (\d+) as dead", line):
                self.dead.add(int(match[1]))

    def get(self, path: str) -> str:
        """Return the body of a page; raises OSError or HTTPException if there is none."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"{path}: {response.status} {response.reason}")
        return body

    def check(self) -> None:
        """Raise DemoError if gunicorn has ended."""
        if self.process.poll() is None:
            return
        self._follower.join(timeout=5)
        tail = "\n".join(line for line in self.log[-15:] if line)
        raise DemoError(f"gunicorn ended with status {self.process.returncode}:\n{tail}")

    def stop(self) -> None:
        """End gunicorn, with its workers: cleanly if it can be done."""
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            print("gunicorn does not end; it is killed.")
        # Also a worker that its master could not wait for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._follower.join(timeout=5)
