"""A configuration file of the user's own, which takes only the hook from multiprom."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.gunicorn_server import Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
from multiprom.gunicorn import child_exit

workers = 3
worker_class = "gthread"
threads = 2
proc_name = "shop"

def when_ready(server):
    server.log.info("the shop is open")
"""


@each_version
def test_the_hook_works_beside_other_settings(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    with Server(version, tmp_path) as server:
        assert len(server.private_directories) == 1
        victim = min(server.send_until_answered_by(3))
        assert server.scrape()["app_alive"] == 3
        os.kill(victim, signal.SIGKILL)
        server.until(lambda: server.marked == [victim], "mark the killed worker")
        samples = server.scrape()
        assert samples["app_alive"] == 2
        assert samples["app_requests_total"] == server.sent
        server.send_until_answered_by(3)
        assert "the shop is open" in server.log
        assert "Using worker: gthread" in server.log
        assert server.stop() == 0
        assert server.private_directories == []
        assert "Traceback" not in server.log


@each_version
def test_the_file_may_name_the_directory_itself(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    naming = f"import os\nos.environ['PROMETHEUS_MULTIPROC_DIR'] = {str(metrics)!r}\n"
    (tmp_path / "gunicorn.conf.py").write_text(naming + CONFIGURATION)
    with Server(version, tmp_path) as server:
        server.send_until_answered_by(3)
        assert server.scrape()["app_requests_total"] == server.sent
        assert server.private_directories == []
        assert server.stop() == 0
    assert list(metrics.glob("counter_*.db"))
