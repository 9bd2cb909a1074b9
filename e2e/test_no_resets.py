"""What a real Prometheus sees of a service whose workers come and go: no counter ever falls.

It takes any fall, if only by the last bit, for a restart, and adds the whole value once more.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_server import Prometheus
from support.gunicorn_server import CONFIGURATION, Server, python_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

E2E = Path(__file__).resolve().parent
SECONDS = 20.0
CLIENTS = 3
WORKERS = 4
SECONDS_BETWEEN_KILLS = 0.7
# Whatever the machine is busy with.
SCRAPES_AT_LEAST = 20
COUNTERS = ("app_requests_total", "app_seconds_count", "app_seconds_sum", "app_seconds_bucket")


class Load:
    """Clients that send requests, and somebody who kills workers, until told to stop."""

    def __init__(self, port: int, workers: Callable[[], list[int]]) -> None:
        self.sent = self.answered = self.kills = 0
        self._port = port
        self._workers = workers
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, seconds: float) -> None:
        """Send requests and kill workers for so long, and until nothing is on its way."""
        threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_KILLS)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._workers()[-1], signal.SIGKILL)
                self.kills += 1
        self._stop.set()
        for thread in threads:
            thread.join()

    def _send(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self.sent += 1
            # A worker may be killed at work, or recycled with a connection that it has not read.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._ask()
                with self._lock:
                    self.answered += 1

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"Connection": "close"})
            assert connection.getresponse().read()


def assert_no_resets(prometheus: Prometheus, load: Load, directory: Path) -> None:
    """Hold what Prometheus has seen against what was sent."""
    load.run(SECONDS)
    total = "app_requests_total"
    # What was counted by all, when nobody counts any more.
    time.sleep(1)
    last = prometheus.value(total)
    assert load.answered <= last <= load.sent
    assert prometheus.value(f"count_over_time({total}[5m])") >= SCRAPES_AT_LEAST
    for name in COUNTERS:
        resets = prometheus.query(f"resets({name}[5m])")
        assert resets, name
        assert not any(resets.values()), (name, resets)
    assert prometheus.value("app_seconds_count") >= load.answered
    assert load.kills > 5
    # Files of the living, and of the dead that were not folded yet.
    assert len(list(directory.glob("*.db"))) <= 40


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "metrics"
    path.mkdir()
    return path


def test_gunicorn(tmp_path: Path, directory: Path) -> None:
    options = [*CONFIGURATION, f"--workers={WORKERS}", "--max-requests=40", "--preload"]
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with Server("newest", tmp_path, *options, environment=environment) as server:
        server.send(1)
        match = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", server.log)
        assert match is not None
        port = int(match[1])
        load = Load(port, lambda: server.booted)
        load.sent = load.answered = server.sent
        with Prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}") as prometheus:
            assert_no_resets(prometheus, load, directory)
            assert len(server.booted) > 20
            # Prometheus would have told: without what the dead have counted the total falls.
            (directory / "counter_compacted.db").unlink()
            prometheus.wait_for(f"resets({COUNTERS[0]}[5m])", 1)
            assert prometheus.value(f"resets({COUNTERS[0]}[5m])") == 1


@contextlib.contextmanager
def uvicorn(folder: Path, directory: Path) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    """Run a server with some workers; yield its port, and who tells the workers that ever were."""
    log_path = folder / "uvicorn.log"
    environment = python_environment("newest", folder)
    environment |= {"PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": str(E2E)}
    command = [sys.executable, "-m", "uvicorn", f"--workers={WORKERS}", "--port=0", "asgi_app:app"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def found(pattern: str) -> list[int]:
        return [int(number) for number in re.findall(pattern, log_path.read_text())]

    try:
        deadline = time.monotonic() + 60
        while len(found(r"server process \[(\d+)\]")) < WORKERS:
            assert time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.1)
        (port,) = found(r"running on http://127\.0\.0\.1:(\d+)")
        yield port, lambda: found(r"server process \[(\d+)\]")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_uvicorn_without_any_hook(tmp_path: Path, directory: Path) -> None:
    with uvicorn(tmp_path, directory) as (port, workers):
        load = Load(port, workers)
        with Prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}") as prometheus:
            assert_no_resets(prometheus, load, directory)
            assert len(workers()) > 8
