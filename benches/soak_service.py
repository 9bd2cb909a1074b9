"""What `make soak` runs: gunicorn, a process that scrapes beside it, a client, and who kills."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
HOST = "127.0.0.1"
WORKERS = 4
# A worker ends after so many requests: about one a second ends, whatever is killed beside.
MAX_REQUESTS = 150
JITTER = 100
REQUESTS_PER_SECOND = 200
PAGES = 50
SECONDS_BETWEEN_KILLS = 5.0
# What gunicorn's log may have beside information: the end of a worker that was killed.
EXPECTED = re.compile(r"\[ERROR\] Worker \(pid:\d+\) (was sent SIGKILL|exited with code -9)")


class Server:
    """gunicorn with the hooks of multiprom, in a private directory below `workspace`."""

    def __init__(self, workspace: Path) -> None:
        self.died = 0
        self.unexpected: list[str] = []
        self.port = 0
        self._living: dict[int, float] = {}
        self._killed: set[int] = set()
        self._listens = threading.Event()
        command = [sys.executable, "-m", "gunicorn", "-c", "python:multiprom.gunicorn", "--preload"]
        command += [f"--workers={WORKERS}", f"--max-requests={MAX_REQUESTS}"]
        command += [f"--max-requests-jitter={JITTER}", f"--bind={HOST}:0", "soak_app:app"]
        self.process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env=environment(workspace),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._follower = threading.Thread(target=self._follow)
        self._follower.start()
        if not self._listens.wait(60):
            self.stop()
            raise RuntimeError("gunicorn does not start:\n" + "\n".join(self.unexpected))

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
            elif match := re.search(r"Booting worker with pid: (\d+)", line):
                self._living[int(match[1])] = time.monotonic()
                self._listens.set()
            elif match := re.search(r"marked worker (\d+) as dead", line):
                self._living.pop(int(match[1]), None)
                self.died += 1
            elif "[INFO]" not in line and not EXPECTED.search(line):
                self.unexpected.append(line.rstrip())

    def workers(self) -> list[int]:
        """Return the pids of the workers that live and have had a second to start."""
        now = time.monotonic()
        return [pid for pid, booted in self._living.copy().items() if now - booted > 1]

    def kill_one(self) -> bool:
        """Kill a worker as the kernel does it when memory runs out."""
        victims = set(self.workers()) - self._killed
        if not victims:
            return False
        victim = random.choice(sorted(victims))
        self._killed.add(victim)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return True

    def stop(self) -> None:
        """End gunicorn as its users do, and what is left of it after that by force."""
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.unexpected.append("gunicorn did not end within a minute")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._follower.join()


class Scraper:
    """The process beside the server, and what it said of its scrapes."""

    def __init__(self, workspace: Path, directory: Path) -> None:
        self.scrapes = 0
        self.counted: dict[str, int] = {}
        self.falls: list[str] = []
        self._seconds: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, str(FOLDER / "soak_scraper.py")],
            env=environment(workspace) | {"PROMETHEUS_MULTIPROC_DIR": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._follower = threading.Thread(target=self._follow)
        self._follower.start()

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            scrape: dict[str, Any] = json.loads(line)
            self.scrapes += 1
            self._seconds.append(scrape["seconds"])
            for name, counted in scrape["counted"].items():
                if counted < self.counted.get(name, 0):
                    self.falls.append(f"{name}: {self.counted[name]:,} fell to {counted:,}")
            self.counted = scrape["counted"]

    def take_seconds(self) -> list[float]:
        """Return how long each scrape has taken since the last call."""
        taken, self._seconds = self._seconds, []
        return taken

    def stop(self) -> int:
        """Let it end, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(timeout=60)
        self._follower.join()
        return status


class Client:
    """One client, which asks at a steady rate, and now and then for /metrics."""

    def __init__(self, server: Server) -> None:
        self.sent = self.answered = self.scraped = 0
        self.failed_scrapes: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            # A machine that was busy elsewhere does not get all at once what it has missed.
            due = max(due, time.monotonic() - 1) + 1 / REQUESTS_PER_SECOND
            self.sent += 1
            # A worker that is killed takes its connection along.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._get(f"/page/{self.sent % PAGES}")
                self.answered += 1
            if self.sent % (2 * REQUESTS_PER_SECOND) == 0:
                self._scrape()

    def _scrape(self) -> None:
        try:
            self._get("/metrics")
            self.scraped += 1
        except http.client.HTTPException as error:
            # A connection that was cut off is none: its worker was killed.
            if not isinstance(error, (http.client.IncompleteRead, http.client.BadStatusLine)):
                self.failed_scrapes.append(str(error))
        except OSError:
            pass

    def _get(self, page: str) -> None:
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", page)
            response = connection.getresponse()
            response.read()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"{page}: {response.status} {response.reason}")

    def stop(self) -> None:
        """Send nothing more, and wait for what was sent."""
        self._stop.set()
        self._thread.join()


def environment(workspace: Path) -> dict[str, str]:
    """Return an environment without what might change the run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in {"PROMETHEUS_MULTIPROC_DIR", "GUNICORN_CMD_ARGS"}
        and not name.startswith("MULTIPROM_")
    }
    own = {"TMPDIR": str(workspace), "XDG_RUNTIME_DIR": str(workspace)}
    return kept | own | {"PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def service(workspace: Path) -> Iterator[tuple[Server, Scraper, Path]]:
    """Run the server and the process beside it; yield them and the directory of the files."""
    server = Server(workspace)
    try:
        [directory] = workspace.glob("multiprom-*")
        scraper = Scraper(workspace, directory)
        try:
            yield server, scraper, directory
        finally:
            if scraper.stop() != 0:
                server.unexpected.append(f"the scraper ended with {scraper.process.returncode}")
    finally:
        server.stop()
        if list(workspace.glob("multiprom-*")):
            server.unexpected.append("the private directory is still there after the end")
