"""Files depend on the living: gunicorn recycles its workers all the time, and none are left."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path


def _files(directory: Path) -> int:
    return len(list(directory.glob("*.db")))


def _until_marked(server: Server, pid: int) -> None:
    server.until(lambda: pid in server.marked, "notice the death")


@each_version
@pytest.mark.parametrize("loading", ["", "--preload"])
def test_over_recycling(version: str, loading: str, tmp_path: Path) -> None:
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
def test_over_sigkill(version: str, tmp_path: Path) -> None:
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
        assert _files(directory) <= 2 * 4 + 2
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
