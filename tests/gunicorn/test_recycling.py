"""`max_requests` replaces each worker after a few requests, and no count gets lost in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path


@each_version
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_counters_equal_the_requests_sent(version: str, kind: str, tmp_path: Path) -> None:
    recycling = ["--workers=2", "--max-requests=5", f"--worker-class={kind}"]
    with Server(version, tmp_path, *CONFIGURATION, *recycling) as server:
        server.send(60, threads=1)
        server.until(lambda: len(server.marked) >= 10, "recycle ten workers")
        samples = server.scrape()
        assert samples["app_requests_total"] == 60
        assert samples["app_seconds_count"] == 60
        assert samples['app_seconds_bucket{le="+Inf"}'] == 60
        # Each went once: no worker was forgotten, and none was marked twice.
        server.until(lambda: len(server.booted) == len(server.marked) + 2, "replace the last")
        assert len(set(server.marked)) == len(server.marked)
        assert set(server.marked) < set(server.booted)
        assert "Traceback" not in server.log
