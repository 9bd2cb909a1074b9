"""What the hooks do to the files of a worker that died, and of an earlier run."""

from __future__ import annotations

import fcntl
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from support import ours
from support.files import Entry, counter, write, write_ours
from support.hooks import Failing, messages, names, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MARKED = ("info", "marked worker 7 as dead")
WORKER = SimpleNamespace(pid=7)

pytestmark = pytest.mark.usefixtures("automatic")


@pytest.fixture
def server() -> Any:
    return SimpleNamespace(log=mock.Mock(), master_pid=0)


@pytest.fixture(params=["child_exit", "dirty_worker_exit"])
def hook(request: pytest.FixtureRequest, hooks: Any) -> Callable[[Any, Any], None]:
    found: Callable[[Any, Any], None] = getattr(hooks, request.param)
    return found


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


@pytest.fixture
def compacting(directory: Path) -> Iterator[None]:
    """Let somebody else compact the directory all the time."""
    with (directory / ".multiprom.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("compacting")
def test_the_master_does_not_wait_for_another_compaction(
    hook: Callable[[Any, Any], None],
    hooks: Any,
    server: Any,
    directory: Path,
) -> None:
    write_ours(directory / "counter_7.db", counter(0.1))
    begin = time.monotonic()
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
