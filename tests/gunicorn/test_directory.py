"""Which directory a server uses, who makes it, and who removes it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from support.gunicorn_server import CONFIGURATION, KEEPING_FILES, Server, each_version


@each_version
def test_without_the_variable_a_private_one_lives_as_long_as_the_server(
    version: str, tmp_path: Path
) -> None:
    with Server(version, tmp_path, *CONFIGURATION, "--workers=2") as server:
        [private] = server.private_directories
        assert private.stat().st_mode & 0o777 == 0o700
        pids = server.send_until_answered_by(2)
        assert server.scrape()["app_requests_total"] == server.sent
        files = {path.name for path in private.glob("*.db")}
        assert {f"counter_{pid}.db" for pid in pids} <= files
        # A worker that ends on its own runs the same exit code as the master.
        os.kill(min(pids), signal.SIGTERM)
        server.until(lambda: server.marked, "mark the ended worker")
        assert server.private_directories == [private]
        server.send_until_answered_by(2)
        assert server.scrape()["app_requests_total"] == server.sent

        assert server.stop() == 0
        assert server.private_directories == []


@each_version
def test_an_empty_variable_is_as_good_as_none(version: str, tmp_path: Path) -> None:
    empty = {"PROMETHEUS_MULTIPROC_DIR": "", "prometheus_multiproc_dir": ""}
    with Server(version, tmp_path, *CONFIGURATION, environment=empty) as server:
        server.send(3)
        assert server.scrape()["app_requests_total"] == 3
        assert len(server.private_directories) == 1
        assert server.stop() == 0
        assert server.private_directories == []


@each_version
def test_a_named_one_is_made_with_its_parents_and_kept(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "var" / "lib" / "metrics"
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics), **KEEPING_FILES}
    with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
        server.send(3)
        assert server.private_directories == []
        assert server.stop() == 0
    [pid] = server.booted
    assert (metrics / f"counter_{pid}.db").is_file()
    assert (metrics / f"histogram_{pid}.db").is_file()
    assert not (metrics / f"gauge_livesum_{pid}.db").exists()
    with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
        assert server.scrape()["app_requests_total"] == 3, "the last run's counts are still there"


@each_version
def test_the_lower_case_variable_names_it_too(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    # An upper-case variable that is set to nothing must not hide it.
    for upper in ({}, {"PROMETHEUS_MULTIPROC_DIR": ""}):
        named = {"prometheus_multiproc_dir": str(metrics), "PYTHONWARNINGS": "always", **upper}
        with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
            before = server.scrape().get("app_requests_total", 0)
            server.send(3)
            assert server.scrape()["app_requests_total"] == before + 3
            assert server.private_directories == []
            assert server.stop() == 0
            assert server.marked == server.booted
            assert list(metrics.glob("counter_*.db"))
            assert "prometheus_multiproc_dir" not in server.log, "a warning about the old spelling"


@each_version
def test_one_that_cannot_be_made_is_a_clear_error(version: str, tmp_path: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("in the way")
    for path in (obstacle, obstacle / "metrics"):
        named = {"PROMETHEUS_MULTIPROC_DIR": str(path)}
        server = Server(version, tmp_path, *CONFIGURATION, environment=named)
        server.launch()
        try:
            assert server.process.wait(timeout=30) == 1
        finally:
            server.kill()
        [line] = [line for line in server.log.splitlines() if str(path) in line]
        assert re.search(r"cannot create the directory that PROMETHEUS_MULTIPROC_DIR names", line)
        assert "Traceback" not in server.log


@each_version
def test_checking_the_configuration_leaves_nothing_behind(version: str, tmp_path: Path) -> None:
    server = Server(version, tmp_path, *CONFIGURATION, "--check-config")
    server.launch()
    try:
        assert server.process.wait(timeout=30) == 0
    finally:
        server.kill()
    assert server.log == ""
    assert server.private_directories == []


@each_version
def test_orphaned_workers_remove_the_private_one(version: str, tmp_path: Path) -> None:
    options = [*CONFIGURATION, "--workers=2", "--timeout=2"]
    with Server(version, tmp_path, *options) as server:
        server.send_until_answered_by(2)
        assert len(server.private_directories) == 1
        server.process.kill()
        server.process.wait(timeout=20)
        server.until(lambda: not server.private_directories, "clean up after the killed master")


@each_version
def test_a_daemon_keeps_and_removes_the_private_one(version: str, tmp_path: Path) -> None:
    # The daemon is a fork of the process that made the directory, which ends at once.
    log = tmp_path / "server.log"
    options = [*CONFIGURATION, "--daemon", f"--error-logfile={log}"]
    with Server(version, tmp_path, *options) as server:
        assert server.process.wait(timeout=20) == 0
        [daemon] = server.masters
        assert daemon != server.process.pid
        server.send(3)
        assert server.scrape()["app_requests_total"] == 3
        assert len(server.private_directories) == 1
        os.kill(daemon, signal.SIGTERM)
        server.until(lambda: not server.private_directories, "remove the private directory")
        assert "Shutting down: Master" in server.log
        assert "Traceback" not in server.log
