"""Configurations: the module's own names, and a user's file that takes some of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version, python_environment

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS_SCRIPT = """
import json
from gunicorn.config import KNOWN_SETTINGS, Config
import multiprom.gunicorn

star = {}
exec("from multiprom.gunicorn import *", star)
del star["__builtins__"]
settings = {setting.name: setting for setting in KNOWN_SETTINGS}
shared = sorted(settings.keys() & vars(multiprom.gunicorn).keys())
for name in shared:
    Config().set(name, getattr(multiprom.gunicorn, name))
print(json.dumps({"known": len(settings), "shared": shared, "star": sorted(star)}))
"""


HOOKS = (
    *("child_exit", "dirty_worker_exit", "nworkers_changed", "on_starting", "post_fork"),
    *("post_request", "pre_fork", "pre_request", "worker_exit"),
)


@each_version
def test_only_the_hooks_are_named_like_settings(version: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SETTINGS_SCRIPT],
        env=python_environment(version, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    assert found["known"] > 80, "gunicorn's list of settings was not found"
    # gunicorn 23 has no dirty workers.
    assert found["shared"] == [
        hook for hook in HOOKS if version != "23" or hook != "dirty_worker_exit"
    ]
    assert found["star"] == list(HOOKS)
    assert list((tmp_path / "tmp").iterdir()) == [], "its private directory outlived the process"


SHOP = """
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
    (tmp_path / "gunicorn.conf.py").write_text(SHOP)
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
    (tmp_path / "gunicorn.conf.py").write_text(naming + SHOP)
    with Server(version, tmp_path) as server:
        server.send_until_answered_by(3)
        assert server.scrape()["app_requests_total"] == server.sent
        assert server.private_directories == []
        assert server.stop() == 0
    assert list(metrics.glob("counter_*.db"))


# prometheus_client decides when it is imported how it counts: here, in memory.
LATE = """
from prometheus_client import values

assert not values.ValueClass._multiprocess
from multiprom.gunicorn import child_exit
"""


@each_version
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_a_damaged_file_fails_no_scrape(version: str, preload: list[str], tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION, *preload) as server:
        server.send(3)
        [private] = server.private_directories
        # prometheus_client answers this with struct.error, at each scrape from now on.
        (private / "counter_1.db").write_bytes(b"\x10\x00")
        assert server.scrape()["app_requests_total"] == 3
        assert "Traceback" not in server.log


@each_version
def test_prometheus_client_may_have_been_imported_before(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(LATE + "workers = 2\n")
    with Server(version, tmp_path) as server:
        pids = server.send_until_answered_by(2)
        [private] = server.private_directories
        files = {path.name for path in private.glob("*.db")}
        assert {f"counter_{pid}.db" for pid in pids} <= files
        assert server.scrape()["app_requests_total"] == server.sent


FAILING = """
from multiprom.gunicorn import child_exit
import prometheus_client.multiprocess

workers = 2

def mark_process_dead(pid):
    raise RuntimeError("the disk is on fire")

prometheus_client.multiprocess.mark_process_dead = mark_process_dead
"""


@each_version
def test_a_failure_is_one_warning_and_the_server_lives_on(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(FAILING)
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
