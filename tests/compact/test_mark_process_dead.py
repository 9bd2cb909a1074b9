"""mark_process_dead() deletes the files of one process's live gauges, and nothing else."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support import stock
from support.equality import samples
from support.files import Entry, write
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE_MODES = [mode for mode in stock.GAUGE_MODES if mode.startswith("live")]
OTHER_PREFIXES = [
    "counter",
    "histogram",
    "summary",
    *[f"gauge_{mode}" for mode in stock.GAUGE_MODES if mode not in LIVE_MODES],
]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def touch(directory: Path, *files: str) -> set[str]:
    for file in files:
        (directory / file).touch()
    return set(files)


def test_all_live_modes_go_and_nothing_else(directory: Path) -> None:
    assert len(LIVE_MODES) == 5
    live = touch(directory, *[f"gauge_{mode}_12.db" for mode in LIVE_MODES])
    kept = touch(directory, *[f"{prefix}_12.db" for prefix in OTHER_PREFIXES], "other.db")
    assert names(directory) == live | kept
    multiprom.mark_process_dead(12)
    assert names(directory) == kept


def test_other_processes_keep_theirs(directory: Path) -> None:
    kept = touch(directory, "gauge_liveall_1.db", "gauge_liveall_112.db", "gauge_liveall_12.db.bak")
    touch(directory, "gauge_liveall_12.db")
    multiprom.mark_process_dead(12)
    assert names(directory) == kept


def test_is_gone_from_the_next_scrape(directory: Path) -> None:
    for pid, value in ((1, 2.0), (2, 3.0)):
        write(directory / f"gauge_livesum_{pid}.db", [Entry("jobs", "jobs", value=value)])
    collector = multiprom.MultiProcessCollector(None)
    assert samples(collector.collect()) == {("jobs", ()): 5}
    multiprom.mark_process_dead(2)
    assert samples(collector.collect()) == {("jobs", ()): 2}


@pytest.mark.parametrize("pid", [12, "12"])
@pytest.mark.parametrize("path", [str, Path])
@pytest.mark.parametrize("by_keyword", [False, True])
def test_arguments(
    tmp_path: Path, pid: int | str, path: Callable[[Path], Any], by_keyword: bool
) -> None:
    touch(tmp_path, "gauge_liveall_12.db")
    if by_keyword:
        multiprom.mark_process_dead(pid=pid, path=path(tmp_path))
    else:
        multiprom.mark_process_dead(pid, path(tmp_path))
    assert names(tmp_path) == set()


def test_signature() -> None:
    parameters = inspect.signature(multiprom.mark_process_dead).parameters
    assert [(name, parameter.default) for name, parameter in parameters.items()] == [
        ("pid", inspect.Parameter.empty),
        ("path", None),
    ]


def test_returns_nothing(directory: Path) -> None:
    touch(directory, "gauge_liveall_12.db")
    result: Any = multiprom.mark_process_dead
    assert result(12) is None
    assert result(12) is None


def test_path_wins_over_the_variable(directory: Path, tmp_path: Path) -> None:
    kept = touch(directory, "gauge_liveall_12.db")
    multiprom.mark_process_dead(12, tmp_path)
    assert names(directory) == kept


def test_lower_case_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
    touch(tmp_path, "gauge_liveall_12.db")
    multiprom.mark_process_dead(12)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("pid", ["*", "?", "[0-9]", "1*", "**", "{1,2}", "worker[1]"])
def test_globs_in_the_pid_are_literal(directory: Path, pid: str) -> None:
    """prometheus_client deletes the gauges of every live worker for a pid of `*`."""
    kept = touch(directory, "gauge_liveall_1.db", "gauge_liveall_2.db", "gauge_liveall_worker1.db")
    multiprom.mark_process_dead(pid)
    assert names(directory) == kept
    touch(directory, f"gauge_liveall_{pid}.db")
    multiprom.mark_process_dead(pid)
    assert names(directory) == kept


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_globs_in_the_path_are_literal(tmp_path: Path, name: str) -> None:
    for directory in ("a1", name):
        (tmp_path / directory).mkdir()
        touch(tmp_path / directory, "gauge_liveall_12.db")
    multiprom.mark_process_dead(12, tmp_path / name)
    assert names(tmp_path / name) == set()
    assert names(tmp_path / "a1") == {"gauge_liveall_12.db"}


def test_a_pid_that_ends_like_another(directory: Path) -> None:
    """`gauge_liveall_a_1.db` belongs to `a_1`, neither to `1` nor to `a`."""
    kept = touch(directory, "gauge_liveall_a_1.db", "gauge_livesum_b_a_1.db")
    touch(directory, "gauge_liveall_1.db", "gauge_liveall_a.db")
    multiprom.mark_process_dead("1")
    multiprom.mark_process_dead("a")
    assert names(directory) == kept
    multiprom.mark_process_dead("a_1")
    assert names(directory) == {"gauge_livesum_b_a_1.db"}


@pytest.mark.parametrize("pid", ["../x", "/x", "x/../../y", "..", ".", "", "a/b", "\0", "a\0b"])
def test_a_pid_leads_nowhere_else(tmp_path: Path, pid: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    # So that a path through it would resolve.
    (inside / "gauge_liveall_..").mkdir()
    outside = touch(tmp_path, "x.db", "y.db", "gauge_liveall_x.db")
    kept = touch(inside, "gauge_liveall_1.db")
    multiprom.mark_process_dead(pid, inside)
    assert names(tmp_path) == {"inside", *outside}
    assert names(inside) == {"gauge_liveall_..", *kept}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    multiprom.mark_process_dead(12, tmp_path / "missing")


def test_a_very_long_pid(directory: Path) -> None:
    multiprom.mark_process_dead("1" * 5000, directory)


def test_a_link_is_deleted_but_not_what_it_names(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (directory / "gauge_liveall_12.db").symlink_to(target)
    multiprom.mark_process_dead(12)
    assert names(directory) == set()
    assert target.read_text() == "kept"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such file names")
def test_a_pid_that_is_not_utf8(directory: Path) -> None:
    kept = touch(directory, "gauge_liveall_w.db", os.fsdecode(b"gauge_liveall_w\xfe.db"))
    touch(directory, os.fsdecode(b"gauge_liveall_w\xff.db"))
    multiprom.mark_process_dead(os.fsdecode(b"w\xff"))
    assert names(directory) == kept


def test_a_living_process_of_the_same_identifier_keeps_its_file(directory: Path) -> None:
    """Containers that share a directory have the same pids."""
    script = """
import os, signal, sys
import multiprom
from prometheus_client import Gauge, values

def worker():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        values.ValueClass = multiprom.MultiProcessValue(lambda: "2")
        Gauge("g", "Help", multiprocess_mode="liveall").set(1)
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    return pid

def names():
    return sorted(name for name in os.listdir(sys.argv[1]) if name.endswith(".db"))

import logging
logging.getLogger("multiprom").setLevel(logging.ERROR)
first, second = worker(), worker()
print(names())
os.kill(second, 9)
os.waitpid(second, 0)
multiprom.mark_process_dead(2)
print(names())
os.kill(first, 9)
os.waitpid(first, 0)
multiprom.mark_process_dead("2")
print(names())
"""
    assert run(script, directory, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "['gauge_liveall_2-1.db', 'gauge_liveall_2.db']",
        "['gauge_liveall_2.db']",
        "[]",
    ]
