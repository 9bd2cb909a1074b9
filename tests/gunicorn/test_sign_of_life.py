"""A server lives also while it holds no metrics file: another that starts must not remove its own.

When the only worker of a server has just been recycled, all that it counted is in archives.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from support.files import counter, write_ours
from support.hooks import messages, names, total
from support.interpreters import command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".multiprom.users.lock"
KEPT = ("info", "kept all metrics files of an earlier run: another server uses them")
REMOVED = ("info", "removed 1 metrics files of an earlier run")

SERVER = """
import os, subprocess, sys, time
from types import SimpleNamespace
import multiprom.gunicorn
multiprom.gunicorn.on_starting(SimpleNamespace(master_pid=int(sys.argv[1]), log=None))
"""
WAIT = """
print("ready", flush=True)
input()
"""

pytestmark = pytest.mark.usefixtures("automatic")


def start(hooks: Any, master_pid: int = 0) -> list[tuple[str, str]]:
    """Start a server in this process, and return what it logs."""
    server = SimpleNamespace(log=mock.Mock(), master_pid=master_pid)
    hooks.on_starting(server)
    return messages(server.log)


@contextlib.contextmanager
def another(directory: Path, script: str = WAIT, master_pid: int = 0) -> Iterator[Any]:
    """Run another server, until the context is left; it prints a line when it is ready."""
    with subprocess.Popen(
        command(SERVER + script, str(master_pid)),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write("\n")
                process.stdin.flush()
            # Until the last of its processes has ended.
            process.stdout.read()
        except BaseException:
            process.kill()
            raise


def archive(directory: Path) -> None:
    """Count something and fold it: nobody holds a file of it."""
    write_ours(directory / "counter_1.db", counter(1))
    assert multiprom.compact(directory).files_folded == 1


@pytest.mark.parametrize("master_pid", [0, 4711], ids=["fresh", "upgrade"])
def test_archives_of_a_living_server(hooks: Any, directory: Path, master_pid: int) -> None:
    with another(directory, master_pid=master_pid):
        archive(directory)
        assert start(hooks) == [KEPT]
        # That has not taken the sign of the other away.
        assert start(hooks) == [KEPT]
        assert names(directory) == {"counter_compacted.db"}
    assert start(hooks) == [REMOVED]
    assert names(directory) == set()


def test_this_server_gives_the_sign_too(hooks: Any, directory: Path) -> None:
    start(hooks)
    archive(directory)
    with another(directory):
        assert names(directory) == {"counter_compacted.db"}


def test_forks_are_the_server_too(hooks: Any, directory: Path) -> None:
    """An orphaned worker counts on until it notices."""
    script = """
if os.fork() == 0:
    print("ready", flush=True)
    input()
"""
    with another(directory, script) as master:
        assert master.wait(timeout=60) == 0
        archive(directory)
        assert start(hooks) == [KEPT]
    assert start(hooks) == [REMOVED]


def test_programs_that_it_executes_are_not(hooks: Any, directory: Path) -> None:
    script = """
subprocess.Popen([sys.executable, "-c", "print('ready', flush=True); input()"], close_fds=False)
os._exit(0)
"""
    with another(directory, script) as master:
        assert master.wait(timeout=60) == 0
        archive(directory)
        assert start(hooks) == [REMOVED]


@pytest.mark.parametrize("fails", [False, True], ids=["it lives on", "it ends"])
def test_another_that_is_just_starting_is_waited_for(
    hooks: Any, directory: Path, fails: bool
) -> None:
    archive(directory)
    with (directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        operation = fcntl.LOCK_UN if fails else fcntl.LOCK_SH
        timer = threading.Timer(0.3, fcntl.flock, (lock, operation))
        timer.start()
        assert start(hooks) == [REMOVED if fails else KEPT]
        timer.join()


def test_but_not_for_ever(hooks: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(directory)
    monkeypatch.setattr("multiprom.sign_of_life._WAIT_SECONDS", 0.1)
    with (directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        [(level, text)] = start(hooks)
    assert level == "warning"
    assert "another server has been starting for a long time" in text
    assert names(directory) == {"counter_compacted.db"}


def test_many_start_at_once(directory: Path) -> None:
    """Whoever has started counts, folds it at once, and holds nothing: none of it may go."""
    archive(directory)
    script = """
multiprom.install()
from prometheus_client import Counter, values
Counter("requests", "Help").inc(1)
values.ValueClass.close_all_files()
multiprom.compact()
print("ready", flush=True)
input()
"""
    servers = 12
    processes = [
        subprocess.Popen(
            command(SERVER + script, "0"),
            env=environment(PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(servers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        assert names(directory) == {"counter_compacted.db"}
        # Without what was there before.
        assert total(directory) == servers
    finally:
        for process in processes:
            process.communicate("\n")


@pytest.mark.parametrize("obstacle", ["link", "folder"])
def test_without_the_file_all_is_as_if_there_were_no_sign(
    hooks: Any, directory: Path, obstacle: str
) -> None:
    archive(directory)
    if obstacle == "link":
        (directory / LOCK).symlink_to("elsewhere")
    else:
        (directory / LOCK).mkdir()
        (directory / LOCK).chmod(0)
    logged = start(hooks)
    assert logged[-1] == REMOVED
    assert not (directory / "elsewhere").exists()


@pytest.mark.parametrize(("mode", "expected"), [(0o700, 0o600), (0o775, 0o664), (0o1777, 0o666)])
def test_whoever_shares_the_directory_can_lock_it(
    hooks: Any, directory: Path, mode: int, expected: int
) -> None:
    directory.chmod(mode)
    start(hooks)
    found = (directory / LOCK).stat()
    assert found.st_mode & 0o7777 == expected
    assert (found.st_uid, found.st_gid) == (directory.stat().st_uid, directory.stat().st_gid)


def test_it_is_no_metrics_file(hooks: Any, directory: Path) -> None:
    start(hooks)
    assert (directory / LOCK).exists()
    assert list(multiprom.MultiProcessCollector(None, directory).collect()) == []
    assert [item for item in multiprom.left_out() if str(directory) in item.path] == []
    assert start(hooks) == []


def test_nothing_of_it_if_compaction_is_turned_off(
    hooks: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
    start(hooks)
    assert list(directory.iterdir()) == []


def test_a_private_directory_has_a_lock_of_its_own(tmp_path: Path) -> None:
    script = (
        SERVER
        + """
names = set(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
assert names == {"users.lock", ".multiprom.lock"}
"""
    )
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        command(script, "0"),
        env=environment(TMPDIR=tmp_path / "tmp", MULTIPROM_COMPACTION="on"),
        check=False,
    )
    assert done.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("trouble", ["no file", "a lock"])
def test_a_sign_that_could_not_be_given_is_given_later(
    trouble: str, hooks: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that was full, or beside a server that was stopped while it started."""
    monkeypatch.setattr("multiprom.sign_of_life._WAIT_SECONDS", 0.0)
    lock = directory / LOCK
    if trouble == "no file":
        lock.mkdir()
        assert [level for level, _ in start(hooks)] == ["info"]
        lock.rmdir()
    else:
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert [level for level, _ in start(hooks)] == ["warning"]
    # The next death of a worker.
    server = SimpleNamespace(log=mock.Mock())
    hooks.child_exit(server, SimpleNamespace(pid=1 << 30))
    archive(directory)
    with another(directory):
        assert names(directory) == {"counter_compacted.db"}
