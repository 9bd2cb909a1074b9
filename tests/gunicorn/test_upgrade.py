"""USR2 starts a new master beside the old one; for a while both serve one socket.

gunicorn hands the new master the environment from before its configuration was read, without the
private directory. Two directories would give totals that jump to and fro between the workers, and
an old master that cleaned up would take the new one's files away.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path


@each_version
@pytest.mark.parametrize("reloaded", [False, True], ids=["fresh", "reloaded"])
def test_two_masters_share_the_private_directory(
    version: str, reloaded: bool, tmp_path: Path
) -> None:
    with Server(version, tmp_path, *CONFIGURATION, "--workers=2") as server:
        if reloaded:
            # A reload reads the configuration again and takes a new copy of the environment.
            server.process.send_signal(signal.SIGHUP)
            server.until(lambda: len(server.marked) >= 2, "replace its workers")
        [private] = server.private_directories
        server.send_until_answered_by(2)
        old_workers = len(server.booted)

        server.process.send_signal(signal.SIGUSR2)
        server.until(lambda: len(server.masters) == 2, "start a second master")
        server.until(lambda: len(server.booted) == old_workers + 2, "start new workers")
        new_workers = server.booted[-2:]
        server.send_until_answered_by(4)
        assert server.private_directories == [private]
        # Any of the four may answer, and each must say the same.
        totals = {server.scrape()["app_requests_total"] for _ in range(12)}
        assert totals == {server.sent}

        assert server.stop() == 0
        assert server.private_directories == [private]
        server.send_until_answered_by(2)
        samples = server.scrape()
        assert samples["app_requests_total"] == server.sent
        assert samples["app_alive"] == 2, "the old workers' gauges are gone, the new ones' are not"

        os.kill(server.masters[1], signal.SIGTERM)
        server.until(lambda: not server.private_directories, "remove the private directory")
        server.until(lambda: server.log.count("Shutting down: Master") == 2, "end the new master")
        assert set(new_workers) <= set(server.marked)
        assert "Traceback" not in server.log


@each_version
def test_a_new_master_that_fails_takes_nothing_with_it(version: str, tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION) as server:
        [private] = server.private_directories
        server.send(3)
        server.process.send_signal(signal.SIGUSR2)
        server.until(lambda: len(server.booted) == 2, "start a second master with its worker")
        server.send_until_answered_by(2)
        os.kill(server.masters[1], signal.SIGTERM)
        server.until(lambda: "Shutting down: Master.2" in server.log, "end the new master")
        server.until(lambda: len(server.marked) == 1, "mark the new master's worker")
        server.send(3)
        assert server.private_directories == [private]
        assert server.scrape()["app_requests_total"] == server.sent
        assert server.stop() == 0
        assert server.private_directories == []
