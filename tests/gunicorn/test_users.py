"""Users: a server that gives its rights up, and one that never had any.

Both need root to try; without it the tests try that nothing changes for the server's own user.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest
from support.folders import let_others_reach
from support.gunicorn_server import CONFIGURATION, Server, each_version
from support.interpreters import run
from support.users import USER

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = [*CONFIGURATION, "--workers=2", f"--user={USER}"]


def started_by_the_user(server: Server) -> Server:
    """Let the user start the server, in a folder of its own.

    The interpreter may be in the home of root, so the user may read whatever it wants. It writes
    with its own rights only.
    """
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        for path in (server.folder, server.folder / "tmp"):
            os.chown(path, user.pw_uid, user.pw_gid)
        rights = [f"--{which}-caps=+dac_read_search" for which in ("inh", "ambient")]
        names = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        server.within = ("setpriv", *names, *rights)
    return server


def assert_it_counts(server: Server) -> None:
    victim = min(server.send_until_answered_by(2))
    assert server.scrape()["app_requests_total"] == server.sent
    os.kill(victim, 15)
    server.until(lambda: victim in server.marked, "mark the worker that has ended")
    server.until(lambda: len(server.booted) >= 3, "replace it")
    server.send_until_answered_by(2)
    samples = server.scrape()
    assert samples["app_requests_total"] == server.sent
    assert samples["app_alive"] == 2
    assert "Traceback" not in server.log
    assert "[WARNING]" not in server.log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that the user can reach, with all that a Python process needs to read."""
    return let_others_reach(tmp_path)


@each_version
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_workers_of_another_user_and_a_private_directory(
    version: str, preload: list[str], folder: Path
) -> None:
    with Server(version, folder, *OPTIONS, *preload) as server:
        [private] = server.private_directories
        assert private.owner() == USER
        assert private.stat().st_mode & 0o777 == 0o700
        assert_it_counts(server)
        names = {path.name for path in private.glob("*.db")}
        assert "counter_compacted.db" in names
        assert server.stop() == 0
        assert server.private_directories == []


@each_version
@pytest.mark.parametrize("setting", ["variable", "raw_env"])
def test_workers_of_another_user_and_a_directory_that_is_made(
    version: str, setting: str, folder: Path
) -> None:
    metrics = folder / "var" / "metrics"
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)} if setting == "variable" else {}
    options = [] if named else [f"--env=PROMETHEUS_MULTIPROC_DIR={metrics}"]
    with Server(version, folder, *OPTIONS, *options, environment=named) as server:
        assert metrics.owner() == USER
        assert_it_counts(server)
        assert server.stop() == 0


@each_version
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_a_server_that_another_user_starts_and_a_private_directory(
    version: str, preload: list[str], folder: Path
) -> None:
    options = [*CONFIGURATION, "--workers=2", *preload]
    with started_by_the_user(Server(version, folder, *options)) as server:
        [private] = server.private_directories
        assert private.stat().st_mode & 0o777 == 0o700
        assert_it_counts(server)
        assert {path.owner() for path in (private, *private.iterdir())} == {USER}
        assert "counter_compacted.db" in {path.name for path in private.glob("*.db")}
        assert server.stop() == 0
        assert server.private_directories == []


@each_version
@pytest.mark.parametrize("setting", ["variable", "raw_env"])
def test_a_server_that_another_user_starts_and_a_directory_that_is_made(
    version: str, setting: str, folder: Path
) -> None:
    """What an earlier run of that user has left goes at the next start."""
    metrics = folder / "var" / "metrics"
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)} if setting == "variable" else {}
    options = [*CONFIGURATION, "--workers=2"]
    options += [] if named else [f"--env=PROMETHEUS_MULTIPROC_DIR={metrics}"]
    for _ in range(2):
        with started_by_the_user(Server(version, folder, *options, environment=named)) as server:
            assert metrics.owner() == USER
            assert_it_counts(server)
            assert {path.owner() for path in metrics.iterdir()} == {USER}
            assert server.stop() == 0


def test_a_user_who_may_not_make_the_directory_is_told(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    named = {"PROMETHEUS_MULTIPROC_DIR": str(closed / "metrics")}
    server = started_by_the_user(Server("newest", folder, *CONFIGURATION, environment=named))
    server.launch()
    try:
        assert server.process.wait(timeout=30) != 0
    finally:
        server.kill()
    why = "cannot create the directory that PROMETHEUS_MULTIPROC_DIR names (Permission denied)"
    assert f"{why}: {closed / 'metrics'}" in server.log


CHANGING = """
import os, sys
from types import SimpleNamespace
from unittest import mock
import multiprom.gunicorn
cfg = SimpleNamespace(env={}, env_orig={}, uid=12345, gid=12345)
server = SimpleNamespace(cfg=cfg, log=mock.Mock())
refused = PermissionError(1, "Operation not permitted")
with mock.patch("os.geteuid", return_value=int(sys.argv[1])):
    with mock.patch("os.chown", side_effect=refused) as chown:
        multiprom.gunicorn.nworkers_changed(server, 1, None)
print(chown.call_count)
for name, arguments, _ in server.log.method_calls:
    print(name, arguments[0] % arguments[1:])
"""


def test_a_directory_that_cannot_be_given_away_ends_no_start(tmp_path: Path) -> None:
    """As on NFS that takes root for nobody, or in a container without CAP_CHOWN."""
    metrics = tmp_path / "metrics"
    count, warning = run(CHANGING, "0", PROMETHEUS_MULTIPROC_DIR=metrics).splitlines()
    assert count == "1"
    assert warning == (
        f"warning could not give {metrics} to user 12345 (make it for that user): "
        "PermissionError: [Errno 1] Operation not permitted"
    )


def test_only_root_gives_a_directory_away(tmp_path: Path) -> None:
    assert run(CHANGING, "1000", PROMETHEUS_MULTIPROC_DIR=tmp_path / "metrics") == "0\n"
