"""A thousand workers later: as few files, as fast a scrape, and every request counted."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 1000
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
    with Server("newest", tmp_path, *options, environment=environment) as server:
        server.send(BURST, threads=8)
        first = scrape_seconds(server)
        while len(server.marked) < WORKERS:
            server.send(BURST, threads=8)
            # Between two bursts, so that no request is lost with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.booted[-1], signal.SIGKILL)
            assert server.scrape()["app_requests_total"] == server.sent
            most = max(most, len(list(directory.glob("*.db"))))
        last = scrape_seconds(server)
        assert server.scrape()["app_requests_total"] == server.sent
        assert "Traceback" not in server.log
        assert "could not" not in server.log
    assert most <= 40
    # Unfolded files would be a thousand times as many.
    assert last < 5 * first
