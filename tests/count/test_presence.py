"""Slots: each process that uses a directory holds one while it lives, and the kernel frees it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import multiprom
import pytest
from multiprom import _core
from support import ours
from support.interpreters import another

SLOT = ".multiprom.slot-0.lock"

COUNTING = """
import os, sys
import multiprom
multiprom.install()
from prometheus_client import Counter
Counter("requests", "Help").inc()
"""
WAITING = """
print(os.getpid(), flush=True)
input()
"""


def holders(directory: Path) -> dict[int, int]:
    """Return the pids of those who hold a slot, by its number."""
    slots = _core.slots(str(directory))
    return {number: who[0] for number, is_held, _, who in slots if is_held and who}


def test_a_process_that_counts_holds_one_until_it_ends(directory: Path) -> None:
    assert _core.slots(str(directory)) == []
    with another(directory, COUNTING + WAITING) as (_, first):
        assert holders(directory) == {0: first}
        with another(directory, COUNTING + WAITING) as (second, pid):
            assert holders(directory) == {0: first, 1: pid}
            second.send_signal(signal.SIGKILL)
            second.wait(timeout=60)
            assert holders(directory) == {0: first}
            with another(directory, COUNTING + WAITING) as (_, third):
                assert holders(directory) == {0: first, 1: third}
    assert holders(directory) == {}
    assert len(_core.slots(str(directory))) == 2


def test_values_without_install_leave_no_other_file(directory: Path, made: Any) -> None:
    """Tests of programs list the directory, prometheus_client's own among them."""
    ours.value(made).inc(1)
    assert [file.name for file in directory.iterdir()] == ["counter_w.db"]


def test_the_file_says_who_holds_it(directory: Path) -> None:
    multiprom.install()
    with ours.value_class(lambda: "web-1") as made:
        ours.value(made).inc(1)
        content = json.loads((directory / SLOT).read_text())
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        assert content == {
            "pid": os.getpid(),
            "start": start,
            "identifier": "web-1",
            "role": "worker",
        }
        assert _core.hold_slot(str(directory), "master") == 0
        who = (os.getpid(), start, "web-1", "master")
        assert _core.slots(str(directory)) == [(0, True, True, who)]
        _core.leave(str(directory))
        assert _core.slots(str(directory)) == [(0, False, False, who)]


def test_a_child_does_not_keep_its_parents(directory: Path) -> None:
    script = COUNTING + (
        """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    input()
"""
    )
    with another(directory, script) as (parent, _):
        assert parent.wait(timeout=60) == 0
        assert holders(directory) == {}


def test_a_child_that_counts_has_its_own(directory: Path) -> None:
    script = COUNTING + (
        """
if os.fork() == 0:
    Counter("tasks", "Help").inc()
    print(os.getpid(), flush=True)
input()
"""
    )
    with another(directory, script) as (parent, child):
        assert holders(directory) == {0: parent.pid, 1: child}


@pytest.mark.parametrize(("mode", "expected"), [(0o700, 0o600), (0o775, 0o664), (0o1777, 0o666)])
def test_whoever_shares_the_directory_can_lock_it(
    directory: Path, mode: int, expected: int
) -> None:
    directory.chmod(mode)
    assert _core.hold_slot(str(directory), "worker") == 0
    found = (directory / SLOT).stat()
    assert found.st_mode & 0o7777 == expected
    assert (found.st_uid, found.st_gid) == (directory.stat().st_uid, directory.stat().st_gid)


def test_it_is_no_metrics_file(directory: Path) -> None:
    assert _core.hold_slot(str(directory), "worker") == 0
    assert list(multiprom.MultiProcessCollector(None, directory).collect()) == []
    assert [item for item in multiprom.left_out() if str(directory) in item.path] == []


def test_where_there_can_be_none_all_else_goes_on(directory: Path, made: Any) -> None:
    multiprom.install()
    (directory / SLOT).symlink_to("elsewhere")
    value = ours.value(made)
    value.inc(1)
    assert list(directory.glob("counter_*.db"))
    assert _core.hold_slot(str(directory), "worker") is None
    assert not (directory / "elsewhere").exists()
    # It is tried again at the next file.
    (directory / SLOT).unlink()
    ours.value(made, typ="summary").inc(1)
    assert holders(directory) == {0: os.getpid()}


def test_arguments_are_checked(directory: Path) -> None:
    with pytest.raises(ValueError, match="boss"):
        _core.hold_slot(str(directory), "boss")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        _core.slots(str(directory / "gone"))
    assert _core.hold_slot(str(directory / "gone"), "worker") is None
    _core.leave(str(directory / "gone"))
