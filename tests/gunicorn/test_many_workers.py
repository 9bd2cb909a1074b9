"""Hundreds of workers come and go: as few files, as fast a scrape, and every request counted.

With prometheus_client a server left 6,000 files in four days, and scrapes took 40 seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support import pages
from support.gunicorn_server import CONFIGURATION, Server

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

THOUSAND = 1000
REQUESTS_A_WORKER = 40
BURST = 400


def scrape_seconds(server: Server) -> float:
    """Return what a scrape takes when no worker is starting: the fastest of some."""
    time.sleep(1)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        server.scrape()
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.timeout(300)
def test_over_a_thousand_workers(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    options = ["--workers=4", f"--max-requests={REQUESTS_A_WORKER}", *CONFIGURATION]
    most = 0
    workers: set[str] = set()
    with Server("newest", tmp_path, *options, environment=environment) as server:
        server.send(BURST, threads=8)
        first = scrape_seconds(server)
        while len(server.marked) < THOUSAND:
            server.send(BURST, threads=8)
            # Between two bursts, so that no request is lost with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.booted[-1], signal.SIGKILL)
            samples = server.scrape()
            assert samples["app_requests_total"] == server.sent
            workers.update(re.findall(r'worker="(\d+)"', " ".join(samples)))
            most = max(most, len(list(directory.glob("*.db"))))
        last = scrape_seconds(server)
        assert server.scrape()["app_requests_total"] == server.sent
        assert "Traceback" not in server.log
        assert "could not" not in server.log
    assert most <= 40
    assert workers == {"0", "1", "2", "3", "4"}, "the master and four workers"
    # Unfolded files would be a thousand times as many.
    assert last < 5 * first


WORKERS = 4
RECYCLED = 400
SECONDS = 20.0
# However slow the machine is: with fewer it would show nothing.
RECYCLED_AT_LEAST = 60
REQUESTS_BETWEEN_KILLS = 400
CLIENTS = 4
MOST_FILES = 40


class Watch:
    """A thread that scrapes and counts files all the time, past the server."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.seconds: list[float] = []
        self.most_files = 0
        self.falls: list[tuple[dict[str, float], dict[str, float]]] = []
        self._server = server
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last: dict[str, float] = {}
        while not self._stop.wait(0.02):
            self.most_files = max(self.most_files, len(list(self._directory.glob("*.db"))))
            begin = time.perf_counter()
            # The worker that answers may be killed.
            try:
                found = self._scrape()
            except (OSError, http.client.HTTPException):
                continue
            self.seconds.append(time.perf_counter() - begin)
            # Of the application: what a worker uses begins at 0 with the next worker in its slot.
            now = {
                name: value
                for name, value in found.items()
                if name.startswith("app_") and "alive" not in name
            }
            if any(now.get(name, 0.0) < value for name, value in last.items()):
                self.falls.append((last, now))
            last = now

    def _scrape(self) -> dict[str, float]:
        found = pages.samples(self._server._get_once("/metrics"))
        return {name: value for name, value in found.items() if "app_worker" not in name}


def test_files_totals_and_scrape_time(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    options = [*CONFIGURATION, f"--workers={WORKERS}", "--max-requests=40", "--preload"]
    answered = sent = 0
    killed: set[int] = set()

    def ask(_: int) -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):
            server._get_once("/")
            return 1
        return 0

    with Server("newest", tmp_path, *options, environment=environment) as server:
        server.send_until_answered_by(WORKERS)
        answered = sent = server.sent
        recycled = 0
        deadline = time.monotonic() + SECONDS
        with Watch(server, directory) as watch, ThreadPoolExecutor(CLIENTS) as clients:
            while (recycled := len(server.marked)) < RECYCLED:
                if recycled >= RECYCLED_AT_LEAST and time.monotonic() > deadline:
                    break
                answers = clients.map(ask, range(REQUESTS_BETWEEN_KILLS))
                living = [pid for pid in server.booted if pid not in server.marked]
                # None, if all are just being replaced.
                for victim in living[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim, signal.SIGKILL)
                        killed.add(victim)
                answered += sum(answers)
                sent += REQUESTS_BETWEEN_KILLS
        server.until(lambda: killed <= set(server.marked), "mark the killed workers")
        # A worker may have counted the request at which it was killed, and not answered any more.
        broken = sent - answered
        samples = server.scrape()
        print(f"{recycled} recycled, {sent} sent, {broken} broken, {len(watch.seconds)} scrapes")
        print(f"at most {watch.most_files} files", end=", ")
        for name in ("app_requests_total", "app_seconds_count"):
            assert answered <= samples[name] <= sent, name
        assert broken <= len(killed) * CLIENTS
        assert killed
        assert watch.falls == []
        assert watch.most_files <= MOST_FILES
        tenth = len(watch.seconds) // 10
        first, last = (
            # Faster than most: those wait for a processor on which workers start.
            statistics.quantiles(part, n=10)[0]
            for part in (watch.seconds[tenth : 2 * tenth], watch.seconds[-tenth:])
        )
        print(f"scrapes of {first * 1000:.1f} ms and {last * 1000:.1f} ms in the end")
        # What is left of each worker would make it grow with their number.
        assert last < 4 * first
        assert "could not" not in server.log
        assert "Traceback" not in server.log
