"""A start removes what an earlier run left, unless another process uses the directory.

A server may hold no metrics file for a while, when its only worker has just been recycled: all that
it counted is in archives then. Its processes hold slots of the directory all the time.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from multiprom import _core
from support.files import counter, write_ours
from support.hooks import messages, names, total
from support.interpreters import another, command, environment

if TYPE_CHECKING:
    from pathlib import Path

REMOVED = ("info", "removed 1 metrics files of an earlier run")

SERVER = """
import os, subprocess, sys, time
from types import SimpleNamespace
import multiprom.gunicorn
multiprom.gunicorn.on_starting(SimpleNamespace(master_pid={master_pid}, log=None))
"""
WAIT = """
print(os.getpid(), flush=True)
input()
"""

pytestmark = pytest.mark.usefixtures("automatic")


def kept(pid: int) -> tuple[str, str]:
    text = f"kept all metrics files of an earlier run: process {pid} uses the directory"
    return ("info", text)


def start(hooks: Any, master_pid: int = 0) -> list[tuple[str, str]]:
    """Start a server in this process, and return what it logs."""
    server = SimpleNamespace(log=mock.Mock(), master_pid=master_pid)
    hooks.on_starting(server)
    return messages(server.log)


def archive(directory: Path) -> None:
    """Count something and fold it: nobody holds a file of it."""
    write_ours(directory / "counter_1.db", counter(1))
    assert multiprom.compact(directory).files_folded == 1


def script(more: str = WAIT, master_pid: int = 0) -> str:
    return SERVER.format(master_pid=master_pid) + more


@pytest.mark.parametrize("master_pid", [0, 4711], ids=["fresh", "upgrade"])
def test_archives_of_a_living_server(hooks: Any, directory: Path, master_pid: int) -> None:
    with another(directory, script(master_pid=master_pid), MULTIPROM_COMPACTION="on") as (_, pid):
        archive(directory)
        assert start(hooks) == [kept(pid)]
        assert start(hooks) == [kept(pid)]
        assert names(directory) == {"counter_compacted.db"}
    assert start(hooks) == [REMOVED]
    assert names(directory) == set()


def test_this_server_holds_a_slot_too(hooks: Any, directory: Path) -> None:
    start(hooks)
    archive(directory)
    with another(directory, script(), MULTIPROM_COMPACTION="on"):
        assert names(directory) == {"counter_compacted.db"}


def test_a_process_that_counts_is_enough(hooks: Any, directory: Path) -> None:
    """Such as one that has nothing to do with a server, and has closed its files."""
    counts = """
import os, multiprom
multiprom.install()
from prometheus_client import Counter, values
Counter("requests", "Help").inc()
values.ValueClass.close_all_files()
multiprom.compact()
"""
    with another(directory, counts + WAIT) as (_, pid):
        assert start(hooks) == [kept(pid)]
    assert start(hooks) == [REMOVED]


def test_forks_are_the_server_too(hooks: Any, directory: Path) -> None:
    """An orphaned worker counts on until it notices."""
    forking = """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    input()
"""
    with another(directory, script(forking), MULTIPROM_COMPACTION="on") as (master, pid):
        assert master.wait(timeout=60) == 0
        archive(directory)
        assert start(hooks) == [kept(pid)]
    assert start(hooks) == [REMOVED]


def test_programs_that_it_executes_are_not(hooks: Any, directory: Path) -> None:
    executing = """
subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], close_fds=False)
os._exit(0)
"""
    with another(directory, script(executing), MULTIPROM_COMPACTION="on") as (master, _):
        assert master.wait(timeout=60) == 0
        archive(directory)
        assert start(hooks) == [REMOVED]


def test_many_start_at_once(directory: Path) -> None:
    """Each counts at once, while others still look for what is left over: none of it may go."""
    archive(directory)
    counting = """
from prometheus_client import Counter, values
Counter("requests", "Help").inc(1)
values.ValueClass.close_all_files()
multiprom.compact()
print("ready", flush=True)
input()
"""
    servers = 8
    processes = [
        subprocess.Popen(
            command(script(counting)),
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
        # What was there before may have gone, if one was so early that it saw no other.
        assert total(directory) in (servers, servers + 1)
    finally:
        for process in processes:
            process.communicate("\n")


@pytest.mark.parametrize("obstacle", ["link", "folder"])
def test_without_a_slot_it_goes_by_the_files(hooks: Any, directory: Path, obstacle: str) -> None:
    archive(directory)
    slot = directory / ".multiprom.slot-0.lock"
    slot.symlink_to("elsewhere") if obstacle == "link" else slot.mkdir(mode=0)
    assert start(hooks) == [REMOVED]
    assert not (directory / "elsewhere").exists()


def test_a_slot_that_could_not_be_held_is_held_later(hooks: Any, directory: Path) -> None:
    """On a disk that was full."""
    slot = directory / ".multiprom.slot-0.lock"
    slot.mkdir()
    assert start(hooks) == []
    slot.rmdir()
    # The next death of a worker.
    hooks.child_exit(SimpleNamespace(log=mock.Mock()), SimpleNamespace(pid=1 << 30))
    assert [is_own for _, _, is_own, _ in _core.slots(str(directory))] == [True]


def test_nothing_is_removed_if_compaction_is_turned_off(
    hooks: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(directory)
    monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
    assert start(hooks) == []
    assert names(directory) == {"counter_compacted.db"}


def test_a_private_directory_is_gone_with_the_process(tmp_path: Path) -> None:
    looking = """
names = sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
assert names == [".multiprom.lock", ".multiprom.slot-0.lock"], names
"""
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script(looking)],
        env=environment(TMPDIR=tmp_path / "tmp", MULTIPROM_COMPACTION="on"),
        check=False,
    )
    assert done.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []
