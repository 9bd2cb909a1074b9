"""A server that is asked to end does so cleanly, and says goodbye to each of its workers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path


@each_version
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_every_worker_is_marked_once(version: str, sent: signal.Signals, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    with Server(version, tmp_path, *CONFIGURATION, "--workers=3", environment=named) as server:
        server.send_until_answered_by(3)
        assert len(list(metrics.glob("gauge_live*.db"))) == 6
        assert server.stop(sent) == 0
        assert sorted(server.marked) == sorted(server.booted)
        assert len(server.marked) == 3
        assert list(metrics.glob("gauge_live*.db")) == []
        assert [path.name for path in metrics.glob("counter_*.db")] == ["counter_compacted.db"]
        assert "could not mark" not in server.log
        if sent is signal.SIGTERM:
            # At SIGINT gunicorn's workers leave at once, also from the end of a request.
            assert "Traceback" not in server.log
