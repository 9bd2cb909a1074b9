"""A hook that raises would stop the whole server, so ours turns whatever goes wrong into a line."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.gunicorn_server import Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
from multiprom.gunicorn import child_exit
import prometheus_client.multiprocess

workers = 2

def mark_process_dead(pid):
    raise RuntimeError("the disk is on fire")

prometheus_client.multiprocess.mark_process_dead = mark_process_dead
"""


@each_version
def test_a_failure_is_one_warning_and_the_server_lives_on(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    with Server(version, tmp_path) as server:
        victim = min(server.send_until_answered_by(2))
        os.kill(victim, signal.SIGKILL)
        complaint = f"could not mark worker {victim} as dead: "
        server.until(lambda: complaint in server.log, "complain")
        server.until(lambda: len(server.booted) == 3, "replace the killed worker")
        server.send_until_answered_by(2)
        assert server.scrape()["app_requests_total"] == server.sent
        [line] = [line for line in server.log.splitlines() if complaint in line]
        assert "[WARNING]" in line
        assert "the disk is on fire" in line
        assert server.marked == []
        assert server.stop() == 0
        assert "Traceback" not in server.log
