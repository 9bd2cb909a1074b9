"""Real gunicorn servers: started, asked and stopped from outside, as a user would."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.pages import samples
from support.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "tests" / "support" / "apps"
OLD_GUNICORN = ROOT / "build" / "gunicorn-23"

# Before gunicorn 24 the child_exit hook runs inside the handler of SIGCHLD, since then outside.
VERSIONS = ("23", "newest")
each_version = pytest.mark.parametrize("version", VERSIONS)

# What a user adds to the command line.
CONFIGURATION = ("-c", "python:multiprom.gunicorn")

# For tests that look at the files of dead workers.
KEEPING_FILES = {"MULTIPROM_COMPACTION": "off"}

# Variables by which the caller's environment would reach into the server.
_FOREIGN = re.compile(
    r"PROMETHEUS_MULTIPROC_DIR|MULTIPROM_.*|GUNICORN_.*|WEB_CONCURRENCY|XDG_RUNTIME_DIR",
    re.IGNORECASE,
)


def python_environment(version: str, folder: Path) -> dict[str, str]:
    """Return the environment of a Python process that finds the named gunicorn and our apps.

    Its temporary files go to `folder / "tmp"`, so that a test can see what is left there.
    """
    paths = [str(APPS)]
    if version == "23":
        if not (OLD_GUNICORN / "gunicorn").is_dir():
            pytest.fail(f"{OLD_GUNICORN} is missing: run `make build/gunicorn-23`", pytrace=False)
        paths.insert(0, str(OLD_GUNICORN))
    elif find_spec("gunicorn") is None:
        pytest.fail("gunicorn is not installed: `make test` installs it", pytrace=False)
    if "PYTHONPATH" in os.environ:
        paths.append(os.environ["PYTHONPATH"])
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not _FOREIGN.fullmatch(k)}
    return {
        **environment,
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
    }


class Server(Program):
    """One gunicorn in a folder of its own; a context manager that leaves no process behind."""

    def __init__(
        self,
        version: str,
        folder: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        app: str = "metrics_app:app",
        command: str = "gunicorn_command.py",
    ) -> None:
        self.sent = 0
        self._version = version
        if version == "newest":
            options = ("--no-control-socket", *options)
        arguments = [sys.executable, str(APPS / command), "--bind=127.0.0.1:0", *options, app]
        variables = python_environment(version, folder) | dict(environment or {})
        super().__init__(folder, "server.log", arguments, variables)

    def wait_until_ready(self) -> None:
        """Wait until the server listens."""
        self.until(lambda: self.masters or self.process.poll(), "listen")
        if not self.masters:
            pytest.fail(f"gunicorn ended before it listened:\n{self.log}")
        match = re.search(r"Starting gunicorn (\d+)", self.log)
        assert match is not None
        assert (match[1] == "23") == (self._version == "23"), "the wrong gunicorn was found"
        self._groups.append(os.getpgid(self.masters[0]))

    @property
    def masters(self) -> list[int]:
        """The pids of the masters that have listened, oldest first."""
        return [int(pid) for pid in re.findall(r"Listening at: \S+ \((\d+)\)", self.log)]

    @property
    def booted(self) -> list[int]:
        """The pids of all workers that ever booted, oldest first."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    @property
    def marked(self) -> list[int]:
        """The pids of the workers that were marked dead, in that order."""
        found = re.findall(r"\[INFO\] marked worker (\d+) as dead$", self.log, re.MULTILINE)
        return [int(pid) for pid in found]

    @property
    def private_directories(self) -> list[Path]:
        """The directories that servers of this test made for themselves and have not removed."""
        return sorted((self.folder / "tmp").glob("multiprom-*"))

    def get(self, path: str = "/") -> str:
        """Return the body of one page, asked for over a connection of its own.

        A gthread worker of gunicorn 23 that reaches `max_requests` resets the connections that it
        has accepted and not read from. Nobody has handled those requests, so they are sent again.
        """
        for _ in range(5):
            with contextlib.suppress(ConnectionResetError):
                return self._get_once(path)
        pytest.fail(f"the server reset every connection:\n{self.log}")

    def _get_once(self, path: str) -> str:
        match = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log)
        assert match is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=20)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        assert response.status == 200, body
        return body

    def send(self, count: int, path: str = "/", threads: int = 4) -> set[int]:
        """Send requests that the application counts; return the pids of those who answered."""
        with ThreadPoolExecutor(threads) as pool:
            pids = [int(body) for body in pool.map(self.get, [path] * count)]
        self.sent += count
        return set(pids)

    def send_until_answered_by(self, workers: int) -> set[int]:
        """Send requests until so many workers have answered; return their pids.

        Also what to do before stopping a server: gunicorn loses a signal to a worker that is
        booting, waits for it in vain, and after half a minute kills it.
        """
        pids: set[int] = set()

        def enough() -> bool:
            pids.update(self.send(2 * workers, "/slow", threads=2 * workers))
            return len(pids) >= workers

        self.until(enough, f"answer from {workers} workers")
        return pids

    def scrape(self) -> dict[str, float]:
        """Return the samples of /metrics, each under its name and labels as they are printed."""
        return samples(self.get("/metrics"))

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Ask the first master to end and return its exit status."""
        self.process.send_signal(sent)
        return self.process.wait(timeout=40)
