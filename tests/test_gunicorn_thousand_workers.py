"""A thousand workers later: as few files, as fast a scrape, and every request counted."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import CONFIGURATION, Server

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 1000
REQUESTS_A_WORKER = 40
BURST = 400


@pytest.mark.timeout(300)
def test_over_a_thousand_workers(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    options = ["--workers=4", f"--max-requests={REQUESTS_A_WORKER}", *CONFIGURATION]
    most = 0
    times: list[float] = []
    with Server("newest", tmp_path, *options, environment=environment) as server:
        while len(server.marked) < WORKERS:
            server.send(BURST, threads=8)
            # Between two bursts, so that no request is lost with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.booted[-1], signal.SIGKILL)
            began = time.perf_counter()
            counted = server.scrape()["app_requests_total"]
            times.append(time.perf_counter() - began)
            assert counted == server.sent
            most = max(most, len(list(directory.glob("*.db"))))
        assert server.scrape()["app_requests_total"] == server.sent
        assert "Traceback" not in server.log
        assert "could not" not in server.log
    assert most <= 40
    tenth = len(times) // 10
    first, last = times[tenth : 2 * tenth], times[-tenth:]
    # By then unfolded files would be a thousand times as many. The fastest: most scrapes wait for a
    # processor on which workers start.
    assert min(last) < 5 * min(first)
