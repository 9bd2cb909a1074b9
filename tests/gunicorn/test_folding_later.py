"""Workers whose files could not be folded when they died are named again when the next one dies.

Only the hook knows that a process of prometheus_client's own writer is dead.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from support.files import Entry, counter, write, write_ours
from support.hooks import messages, names, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# No process has such a pid.
FIRST, SECOND, THIRD = (1 << 30) + 1, (1 << 30) + 2, (1 << 30) + 3

pytestmark = pytest.mark.usefixtures("automatic")


@pytest.fixture(params=["child_exit", "dirty_worker_exit"])
def exited(request: pytest.FixtureRequest, hooks: Any) -> Callable[[int], list[tuple[str, str]]]:
    def call(pid: int) -> list[tuple[str, str]]:
        server = SimpleNamespace(log=mock.Mock())
        getattr(hooks, request.param)(server, SimpleNamespace(pid=pid))
        return messages(server.log)

    return call


@contextmanager
def compacting(directory: Path) -> Iterator[None]:
    """Let somebody else compact the directory meanwhile."""
    with (directory / ".multiprom.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def failing(directory: Path) -> Iterator[None]:
    lock = directory / ".multiprom.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(lock.name)
    yield
    lock.unlink()


@pytest.mark.parametrize("prevented", [compacting, failing])
def test_at_the_next_death(
    exited: Callable[[int], Any], directory: Path, prevented: Callable[[Path], Any]
) -> None:
    for pid in (FIRST, SECOND, THIRD):
        write(directory / f"counter_{pid}.db", [counter(1)])
    with prevented(directory):
        exited(FIRST)
        exited(SECOND)
    assert len(names(directory)) == 3
    exited(THIRD)
    assert names(directory) == {"counter_compacted.db"}
    assert total(directory) == 3
    # And not again: by then it may be anybody's.
    write(directory / f"counter_{FIRST}.db", [counter(1)])
    exited(THIRD)
    assert names(directory) == {"counter_compacted.db", f"counter_{FIRST}.db"}


def test_not_while_another_process_has_the_pid(
    exited: Callable[[int], Any], directory: Path
) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path = write(directory / f"counter_{sleeper.pid}.db", [counter(1)])
    with compacting(directory):
        exited(sleeper.pid)
    exited(FIRST)
    assert path.exists()
    sleeper.communicate(b"\n")
    exited(FIRST)
    assert not path.exists()


def test_more_than_can_be_folded_at_once(exited: Callable[[int], Any], directory: Path) -> None:
    with failing(directory):
        for number in range(300):
            write(directory / f"counter_{FIRST + number}.db", [counter(1)])
            exited(FIRST + number)
    exited(FIRST)
    assert len(names(directory)) == 300 - 256 + 1
    exited(FIRST)
    assert names(directory) == {"counter_compacted.db"}
    assert total(directory) == 300


@pytest.mark.parametrize("pid", [None, 1.5, "[booting]", 1 << 70, True])
def test_what_is_no_pid_is_in_nobodys_way(
    pid: Any, exited: Callable[[Any], Any], directory: Path
) -> None:
    path = write(directory / f"counter_{FIRST}.db", [counter(1)])
    with compacting(directory):
        exited(pid)
    exited(FIRST)
    assert not path.exists()


def test_a_worker_that_cannot_be_marked_is_folded(
    exited: Callable[[int], Any], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(directory / f"counter_{FIRST}.db", [counter(1)])
    mark = mock.Mock(side_effect=PermissionError("no"))
    monkeypatch.setattr("prometheus_client.multiprocess.mark_process_dead", mark)
    (told,) = exited(FIRST)
    assert told == ("warning", f"could not mark worker {FIRST} as dead: PermissionError: no")
    assert not path.exists()


def test_what_may_go_the_next_time_is_tried_again(
    exited: Callable[[int], Any], directory: Path
) -> None:
    """Such as on a full disk, or here where something is in the way of the new archive."""
    path = write(directory / f"counter_{FIRST}.db", [counter(1)])
    obstacle = directory / ".multiprom_counter.tmp"
    obstacle.mkdir()
    exited(FIRST)
    assert path.exists()
    obstacle.rmdir()
    exited(SECOND)
    assert not path.exists()


def test_damaged_files_hide_no_others(exited: Callable[[int], Any], directory: Path) -> None:
    with failing(directory):
        for number in range(300):
            path = write(directory / f"counter_{FIRST + number}.db", [counter(1)])
            if number < 2:
                path.write_bytes(path.read_bytes()[:20])
            exited(FIRST + number)
    for _ in range(2):
        exited(FIRST)
    assert len(names(directory)) == 3
    assert total(directory) == 298


def test_damaged_files_are_for_scrapes_to_report(
    exited: Callable[[int], Any], directory: Path
) -> None:
    for kind in ("counter", "histogram", "summary", "gauge_max", "gauge_min"):
        path = write_ours(directory / f"{kind}_{FIRST}.db", Entry("a", "a", value=1))
        path.write_bytes(path.read_bytes()[:20])
    assert exited(FIRST) == [("info", f"marked worker {FIRST} as dead")]
    assert multiprom.compact().files_folded == 0
