"""Workers of gunicorn count in our files: totals equal the requests sent, however workers end.

And the files depend on the living: none are left of workers that are recycled all the time.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.files import MAGIC, is_held, magic, values_of
from support.gunicorn_server import CONFIGURATION, KEEPING_FILES, ROOT, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

LOADING = {"without preload": [], "preload": ["--preload"]}

# The demo's application and its counter, over all pages.
DEMO = [f"--pythonpath={ROOT / 'examples' / 'demo'}"]
DEMO_TOTAL = "shop_requests_total"
REQUESTS = 300


def demo(version: str, folder: Path, *options: str) -> Server:
    named = {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), **KEEPING_FILES}
    return Server(
        version, folder, *CONFIGURATION, *DEMO, *options, environment=named, app="app:app"
    )


def counted(server: Server) -> float:
    """Return the requests that /metrics has counted, over all pages and workers."""
    return sum(v for name, v in server.scrape().items() if name.startswith(f"{DEMO_TOTAL}{{"))


@each_version
@pytest.mark.parametrize("loading", LOADING)
def test_over_graceful_recycling(version: str, loading: str, tmp_path: Path) -> None:
    recycling = ["--workers=2", "--max-requests=20", "--max-requests-jitter=10"]
    with demo(version, tmp_path, *recycling, *LOADING[loading]) as server:
        for number in range(REQUESTS):
            server.get(f"/product/{number % 20}")
        server.until(lambda: len(server.marked) >= 8, "recycle eight workers")
        assert counted(server) == REQUESTS
        # Without files of `live*` gauges: those of a worker that ends just now go away with it.
        files = [f for f in (tmp_path / "metrics").glob("*.db") if "_live" not in f.name]
        assert {magic(file) for file in files} == {MAGIC}
        # Those of the dead are free, and hold what they counted.
        dead = [file for file in files if int(file.stem.rpartition("_")[2]) in server.marked]
        assert not any(is_held(file) for file in dead)
        assert sum(sum(values_of(file).values()) for file in dead if "counter" in file.name) > 0
        assert "Traceback" not in server.log


@each_version
@pytest.mark.parametrize("loading", LOADING)
def test_over_sigkill(version: str, loading: str, tmp_path: Path) -> None:
    """A worker may have counted the request that it was killed at, and not answered any more."""

    def ask(number: int) -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):
            server._get_once(f"/product/{number % 20}")
            return 1
        return 0

    with demo(version, tmp_path, "--workers=3", *LOADING[loading]) as server:
        server.until(lambda: len(server.booted) >= 3, "boot")
        answered = 0
        killed: list[int] = []
        with ThreadPoolExecutor(4) as pool:
            for part in range(6):
                answers = pool.map(ask, range(REQUESTS // 6))
                if part:
                    killed.append(next(p for p in server.booted if p not in killed))
                    os.kill(killed[-1], signal.SIGKILL)
                answered += sum(answers)
        server.until(lambda: set(killed) <= set(server.marked), "mark the killed workers")
        assert answered <= counted(server) <= REQUESTS
        assert answered > REQUESTS // 2
        files = list((tmp_path / "metrics").glob("*.db"))
        # One that was killed at its first request may have left a file with nothing in it.
        assert {magic(file) for file in files if values_of(file)} == {MAGIC}
        for pid in killed:
            assert not any(is_held(file) for file in files if file.stem.endswith(f"_{pid}"))
        assert "left out" not in server.log


@pytest.mark.parametrize("loading", LOADING)
def test_each_worker_writes_files_of_its_own(loading: str, tmp_path: Path) -> None:
    """With all series of a preloaded application from its first request on."""
    with demo("newest", tmp_path, "--workers=2", *LOADING[loading]) as server:
        server.get("/product/1")
        [pid] = [
            file.stem.rpartition("_")[2]
            for file in (tmp_path / "metrics").glob("counter_*.db")
            if DEMO_TOTAL in "".join(values_of(file))
        ]
        assert int(pid) in server.booted
        counted = values_of(tmp_path / "metrics" / f"counter_{pid}.db")
        assert counted.pop(f"{DEMO_TOTAL} /product/1 200") == 1
        # What the master counts begins at 0 in its workers.
        assert set(counted.values()) <= {0}
        assert is_held(tmp_path / "metrics" / f"counter_{pid}.db")
        gauges = values_of(tmp_path / "metrics" / f"gauge_livesum_{pid}.db")
        assert gauges["shop_in_flight"] == 0
        assert server.stop() == 0
    assert not is_held(tmp_path / "metrics" / f"counter_{pid}.db")


def _files(directory: Path) -> int:
    return len(list(directory.glob("*.db")))


def _until_marked(server: Server, pid: int) -> None:
    server.until(lambda: pid in server.marked, "notice the death")


@each_version
@pytest.mark.parametrize("loading", ["", "--preload"])
def test_no_files_are_left_by_recycled_workers(version: str, loading: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    options = [option for option in (loading,) if option]
    recycling = ["--workers=4", "--max-requests=5", *options]
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with Server(version, tmp_path, *CONFIGURATION, *recycling, environment=environment) as server:
        most = 0
        for _ in range(20):
            server.send(20)
            most = max(most, _files(directory))
        server.until(lambda: len(server.marked) >= 60, "recycle sixty workers")
        assert server.scrape()["app_requests_total"] == server.sent
        # Four kinds of file for each worker, some of which are just ending, and two archives.
        assert most <= 40
        assert "Traceback" not in server.log
        assert "could not" not in server.log


@each_version
def test_no_files_are_left_by_killed_workers(version: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with Server(
        version, tmp_path, *CONFIGURATION, "--workers=2", environment=environment
    ) as server:
        for _ in range(8):
            pids = server.send_until_answered_by(2)
            victim = min(pids & set(server.booted[-2:]) or pids)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            _until_marked(server, victim)
        assert server.scrape()["app_requests_total"] == server.sent
        # Four kinds of file for each worker, two archives, and two files of the master.
        assert _files(directory) <= 2 * 4 + 2 + 2
        assert "Traceback" not in server.log


@each_version
def test_a_start_removes_what_an_earlier_run_left(version: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    options = [*CONFIGURATION, "--workers=2"]
    with Server(version, tmp_path, *options, environment=environment) as server:
        server.send(10)
    assert _files(directory) > 0
    with Server(version, tmp_path, *options, environment=environment) as server:
        server.send(3)
        assert server.scrape()["app_requests_total"] == 3
        with Server(version, tmp_path, *options, environment=environment) as second:
            # The first lives: nothing is removed.
            second.send(1)
            assert second.scrape()["app_requests_total"] == 4
