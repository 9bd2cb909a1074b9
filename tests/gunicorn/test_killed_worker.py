"""A worker dies of SIGKILL, as the kernel does it when memory runs out.

Nothing runs in such a worker any more, so only the master can take its live gauges away. Its
counts are history and must stay.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "sync": ["--worker-class=sync"],
    "gthread": ["--worker-class=gthread", "--threads=2"],
    "preload": ["--preload"],
}


@each_version
@pytest.mark.parametrize("kind", KINDS)
def test_live_gauges_go_and_counters_stay(version: str, kind: str, tmp_path: Path) -> None:
    named = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    options = [*CONFIGURATION, "--workers=2", *KINDS[kind]]
    with Server(version, tmp_path, *options, environment=named) as server:
        victim, survivor = sorted(server.send_until_answered_by(2))
        before = server.scrape()
        assert before["app_alive"] == 2
        assert before[f'app_worker{{pid="{victim}"}}'] == 1
        assert before["app_requests_total"] == server.sent

        os.kill(victim, signal.SIGKILL)
        server.until(lambda: victim in server.marked, "mark the killed worker")
        after = server.scrape()
        assert after["app_alive"] == 1
        assert f'app_worker{{pid="{victim}"}}' not in after
        assert after[f'app_worker{{pid="{survivor}"}}'] == 1
        counted = {name: value for name, value in before.items() if name.startswith("app_seconds_")}
        assert counted["app_seconds_count"] == server.sent
        assert {name: after[name] for name in counted} == counted
        assert after["app_requests_total"] == server.sent

        server.until(lambda: len(server.booted) == 3, "replace the killed worker")
        server.send_until_answered_by(2)
        final = server.scrape()
        assert final["app_alive"] == 2
        assert final["app_requests_total"] == server.sent
        assert server.marked == [victim]
