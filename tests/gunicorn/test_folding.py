"""What the hooks do to the files of a worker that died, and of an earlier run.

Workers whose files could not be folded when they died are named again when the next one dies: only
the hook knows that a process of prometheus_client's own writer is dead.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from support import ours
from support.files import Entry, counter, write, write_ours
from support.hooks import Failing, messages, names, total
from support.locks import compacting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MARKED = ("info", "marked worker 7 as dead")
WORKER = SimpleNamespace(pid=7)
# No process has such a pid.
FIRST, SECOND, THIRD = (1 << 30) + 1, (1 << 30) + 2, (1 << 30) + 3

pytestmark = pytest.mark.usefixtures("automatic")


@pytest.fixture
def server() -> Any:
    return SimpleNamespace(log=mock.Mock(), master_pid=0)


@pytest.fixture(params=["child_exit", "dirty_worker_exit"])
def hook(request: pytest.FixtureRequest, hooks: Any) -> Callable[[Any, Any], None]:
    found: Callable[[Any, Any], None] = getattr(hooks, request.param)
    return found


@pytest.fixture
def exited(hook: Callable[[Any, Any], None]) -> Callable[[Any], list[tuple[str, str]]]:
    def call(pid: Any) -> list[tuple[str, str]]:
        server = SimpleNamespace(log=mock.Mock())
        hook(server, SimpleNamespace(pid=pid))
        return messages(server.log)

    return call


@contextmanager
def failing(directory: Path) -> Iterator[None]:
    lock = directory / ".multiprom.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(lock.name)
    yield
    lock.unlink()


def test_the_worker_that_died_and_no_other(
    hook: Callable[[Any, Any], None], server: Any, directory: Path
) -> None:
    write_ours(directory / "counter_7.db", counter(0.1))
    # Those of prometheus_client too: it has just been reaped.
    write(directory / "summary_7.db", [Entry("s", "s_sum", value=0.2)])
    write_ours(directory / "gauge_livesum_7.db", Entry("l", "l", value=1))
    write_ours(directory / "gauge_all_7.db", Entry("a", "a", value=0.4))
    write_ours(directory / "counter_77.db", counter(0.8))
    hook(server, WORKER)
    assert names(directory) == {
        *("counter_compacted.db", "summary_compacted.db"),
        *("gauge_all_7.db", "counter_77.db"),
    }
    assert total(directory) == 1.5
    assert messages(server.log) == [MARKED]


def test_gauges_of_mode_all_if_the_user_says_so(
    hook: Callable[[Any, Any], None],
    server: Any,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pid in (7, 8):
        write_ours(directory / f"gauge_all_{pid}.db", Entry("a", "a", value=0.4))
    monkeypatch.setenv("MULTIPROM_DROP_ALL", "1")
    hook(server, WORKER)
    assert names(directory) == {"gauge_all_8.db"}


def test_nothing_but_the_mark_if_it_is_turned_off(
    hook: Callable[[Any, Any], None],
    hooks: Any,
    server: Any,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_ours(directory / "counter_7.db", counter(0.1))
    write_ours(directory / "gauge_livesum_7.db", Entry("l", "l", value=1))
    monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
    hooks.on_starting(server)
    assert names(directory) == {"counter_7.db", "gauge_livesum_7.db"}
    hook(server, WORKER)
    assert names(directory) == {"counter_7.db"}
    assert messages(server.log) == [MARKED]


def test_a_failure_is_one_warning_and_the_worker_is_marked(
    hook: Callable[[Any, Any], None], server: Any, directory: Path
) -> None:
    write_ours(directory / "gauge_livesum_7.db", Entry("l", "l", value=1))
    (directory / ".multiprom.lock").symlink_to(".multiprom.lock")
    hook(server, WORKER)
    assert names(directory) == set()
    marked, (level, text) = messages(server.log)
    assert marked == MARKED
    assert level == "warning"
    assert text.startswith("could not fold the files of worker 7: ")
    assert str(directory / ".multiprom.lock") in text
    # Workers may die every second.
    server.log.reset_mock()
    hook(server, WORKER)
    assert messages(server.log) == [MARKED]


@pytest.mark.parametrize("log", [Failing(), None], ids=["failing", "none"])
def test_no_failure_leaves_the_hook(
    hook: Callable[[Any, Any], None], hooks: Any, log: Any, directory: Path
) -> None:
    path = write_ours(directory / "counter_7.db", counter(0.1))
    (directory / ".multiprom.lock").symlink_to(".multiprom.lock")
    hook(SimpleNamespace(log=log), WORKER)
    hooks.on_starting(SimpleNamespace(log=log))
    assert path.exists()


def test_the_master_does_not_wait_for_another_compaction(
    hook: Callable[[Any, Any], None],
    hooks: Any,
    server: Any,
    directory: Path,
) -> None:
    write_ours(directory / "counter_7.db", counter(0.1))
    begin = time.monotonic()
    with compacting(directory):
        hook(server, WORKER)
        hooks.on_starting(server)
    # Generous: a machine may be busy; 0.05 s are what it waits.
    assert time.monotonic() - begin < 5
    # The next that looks will fold it.
    assert names(directory) == {"counter_7.db"}
    kept = "kept all metrics files of an earlier run: another process compacts the directory"
    assert messages(server.log) == [MARKED, ("info", kept)]


def test_what_an_earlier_run_left(hooks: Any, server: Any, directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(0.1))
    multiprom.compact()
    write_ours(directory / "gauge_all_1.db", Entry("a", "a", value=1))
    write(directory / "counter_2.db", [counter(0.2)])
    hooks.on_starting(server)
    assert names(directory) == set()
    assert messages(server.log) == [("info", "removed 3 metrics files of an earlier run")]
    hooks.on_starting(server)
    assert len(messages(server.log)) == 1


def test_what_waits_for_a_large_archive_is_left_by_an_earlier_run(
    hook: Callable[[Any, Any], None], hooks: Any, server: Any, directory: Path
) -> None:
    write_ours(directory / "counter_1.db", Entry("c", "c_total", help="x" * (200 << 10)))
    multiprom.compact()
    path = write_ours(directory / f"counter_{FIRST}.db", counter(0.1))
    hook(server, SimpleNamespace(pid=FIRST))
    assert path.exists()
    hooks.on_starting(server)
    assert names(directory) == set()


def test_a_preloaded_application_keeps_its_own(hooks: Any, server: Any, directory: Path) -> None:
    """The master holds files already, which are neither a sign of another's life nor left over."""
    write_ours(directory / "counter_1.db", counter(0.1))
    with ours.value_class(lambda: "master") as made:
        value = ours.value(made)
        value.inc(0.5)
        # Under whatever path.
        (directory.parent / "link").symlink_to(directory)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory.parent / "link")
        hooks.on_starting(server)
        assert names(directory) == {"counter_master.db"}
        value.inc(0.25)
        assert total(directory) == 0.75


def test_nothing_of_a_living_server(hooks: Any, server: Any, directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(0.1))
    path = write_ours(directory / "summary_2.db", Entry("s", "s_sum", value=0.2))
    before = names(directory)
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        hooks.on_starting(server)
        assert names(directory) == before
    why = f"kept all metrics files of an earlier run: {path}: a living process"
    [(level, text)] = messages(server.log)
    assert level == "info"
    assert text.startswith(why)
    server.log.reset_mock()
    # The old master of an upgrade, none of whose workers holds a file just now.
    server.master_pid = 4711
    hooks.on_starting(server)
    assert names(directory) == before
    assert messages(server.log) == []
    server.master_pid = 0
    hooks.on_starting(server)
    assert names(directory) == set()


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
