"""Without a directory of the user's, a server has a private one, which is gone when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.disks import private_mounts
from support.gunicorn_server import CONFIGURATION, Server, each_version, python_environment
from support.interpreters import command

ONLY_CHILD_EXIT = "from multiprom.gunicorn import child_exit\n"

HANGING = """
import signal, time

def post_worker_init(worker):
    # Deaf to all that could end it but SIGKILL.
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGABRT):
        signal.signal(number, signal.SIG_IGN)
"""


@each_version
def test_it_lives_as_long_as_the_server(version: str, tmp_path: Path) -> None:
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
def test_a_daemon_keeps_and_removes_it(version: str, tmp_path: Path) -> None:
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
        server.until(lambda: "Shutting down: Master" in server.log, "end")
        assert "Traceback" not in server.log


@each_version
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_it_is_gone_when_workers_had_to_be_killed(
    version: str, sent: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "from multiprom.gunicorn import *\nworkers = 4\ngraceful_timeout = 1\n" + HANGING
    )
    with Server(version, tmp_path) as server:
        server.send_until_answered_by(4)
        [_] = server.private_directories
        server.stop(sent)
        assert server.private_directories == []


@each_version
def test_it_is_gone_after_a_worker_hung(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        ONLY_CHILD_EXIT + "workers = 2\ntimeout = 1\ngraceful_timeout = 1\n"
    )
    with Server(version, tmp_path) as server:
        victim = min(server.send_until_answered_by(2))
        os.kill(victim, signal.SIGSTOP)
        server.until(lambda: victim in server.marked, "kill the worker that hangs")
        assert server.stop() == 0
        assert server.private_directories == []


@each_version
def test_orphaned_workers_keep_it_as_long_as_they_live(version: str, tmp_path: Path) -> None:
    options = [*CONFIGURATION, "--workers=2", "--timeout=2"]
    with Server(version, tmp_path, *options) as server:
        server.send_until_answered_by(2)
        assert len(server.private_directories) == 1
        server.process.kill()
        server.process.wait(timeout=20)
        server.until(lambda: not server.private_directories, "clean up after the killed master")


@each_version
def test_the_next_start_removes_what_a_killed_server_left(version: str, tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION) as server:
        server.send(1)
        [left] = server.private_directories
        server.kill()
    assert left.exists()
    # Another server is just making its own, and has no slot yet.
    being_made = tmp_path / "tmp" / "multiprom-private-new"
    being_made.mkdir()
    with Server(version, tmp_path, *CONFIGURATION) as living:
        living.send(1)
        [kept] = {*living.private_directories} - {being_made}
        assert kept != left
        folder = tmp_path / "second"
        folder.mkdir()
        elsewhere = {"TMPDIR": str(tmp_path / "tmp")}
        with Server(version, folder, *CONFIGURATION, environment=elsewhere) as second:
            assert {kept, being_made} < {*living.private_directories}
            assert second.stop() == 0
        assert {kept, being_made} == {*living.private_directories}
        assert living.scrape()["app_requests_total"] == 1
        assert living.stop() == 0
    assert living.private_directories == [being_made]


READ_ONLY = """
for place in /tmp /var/tmp "$PWD"; do
    mount --bind "$place" "$place"
    mount -o remount,bind,ro "$place"
done
mount -t tmpfs -o mode=1777 none /dev/shm
# What a server that was killed has left.
mkdir /dev/shm/multiprom-private-old
touch /dev/shm/multiprom-private-old/.multiprom.slot-0.lock
exec "$@"
"""


@each_version
def test_where_nothing_but_shared_memory_can_be_written(version: str, tmp_path: Path) -> None:
    """A container with a read-only root file system, where the system lets us mount one."""
    mounts = private_mounts()
    server = Server(version, tmp_path, *CONFIGURATION, "--worker-tmp-dir=/dev/shm")
    if mounts:
        server.within = (*mounts, "sh", "-ec", READ_ONLY, "sh")
    with server:
        server.send(3)
        place = Path(f"/proc/{server.masters[0]}/root/dev/shm") if mounts else tmp_path / "tmp"
        descriptor = os.open(place, os.O_RDONLY)
        kept = Path(f"/proc/self/fd/{descriptor}")
        assert server.scrape()["app_requests_total"] == 3
        [private] = kept.iterdir()
        assert private.name.startswith("multiprom-private-")
        assert private.name != "multiprom-private-old"
        assert server.stop() == 0
    assert list(kept.iterdir()) == []
    os.close(descriptor)


def test_no_place_for_it_is_a_message_that_says_what_to_do(tmp_path: Path) -> None:
    script = """
import tempfile
def mkdtemp(**_):
    raise FileNotFoundError(2, "No such file or directory", "/dev/shm/x")
tempfile.mkdtemp = mkdtemp
try:
    import multiprom.gunicorn
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run(
        command(script),
        env=python_environment("newest", tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (
        "set PROMETHEUS_MULTIPROC_DIR to a directory that the workers can write to" in done.stdout
    )
    assert done.returncode == 0, done.stderr
