"""`multiprom compact`: files of dead processes become one archive."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import run, run_json
from support.files import Entry, counter, write, write_ours
from support.locks import compacting
from support.service import leave_all, leave_dead
from support.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def test_the_dead_are_folded(directory: Path) -> None:
    for number in (1, 2, 3):
        write_ours(directory / f"counter_{number}.db", counter(number))
    done = run("compact", directory)
    assert done.stdout == ("folded 3 files of 3 processes, deleted 0 more, freed 192.0 KiB\n")
    assert (directory / "counter_compacted.db").exists()
    assert "requests_total 6.0" in run("export", directory).stdout


def test_it_does_not_count_what_it_folds(directory: Path) -> None:
    """As it ends, its own file would be that of a dead process."""
    write_ours(directory / "counter_1.db", counter(1))
    run("compact", directory, MULTIPROM_WORKER_METRICS="1")
    assert {path.name for path in directory.glob("*.db")} == {"counter_compacted.db"}


def test_json(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1))
    assert run_json("compact", directory) == {
        "schema": 1,
        "command": "compact",
        "directory": str(directory),
        "dry_run": False,
        "processes": 1,
        "files_folded": 1,
        "files_deleted": 0,
        "bytes_freed": 1 << 16,
        "left_alone": [],
        "busy": False,
    }


def test_processes_of_prometheus_client_are_named(directory: Path) -> None:
    for number in (1, 2, 3):
        write(directory / f"counter_{number}.db", [counter(number)])
    assert run_json("compact", directory)["files_folded"] == 0
    assert run_json("compact", directory, "--pid", "1", "--pid", "3")["files_folded"] == 2
    assert (directory / "counter_2.db").exists()


def test_a_process_that_has_no_file(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1)])
    pids = ("--pid", "1", "--pid", "4711")
    for options in (("--dry-run",), ()):
        done = run("compact", directory, *pids, *options, code=1)
        assert done.stderr == "multiprom: no file is of process 4711\n"
        assert "1 file of 1 process" in done.stdout


def test_gauges_of_the_dead_can_be_dropped(directory: Path) -> None:
    write_ours(directory / "gauge_all_1.db", counter(1))
    assert run_json("compact", directory)["files_deleted"] == 0
    assert run_json("compact", directory, "--drop-all")["files_deleted"] == 1


def test_what_is_left_alone_needs_attention(directory: Path) -> None:
    path = write_ours(directory / "counter_1.db", counter(1))
    path.write_bytes(path.read_bytes()[:20])
    said = run("compact", directory, code=1).stdout
    assert "Left alone\n" in said
    assert str(path) in said
    (left,) = run_json("compact", directory, code=1)["left_alone"]
    assert left["path"] == str(path)
    assert "damaged" in left["reason"]


def test_an_empty_directory(directory: Path) -> None:
    assert "folded 0 files" in run("compact", directory).stdout
    assert run_json("compact", directory)["files_folded"] == 0


def test_a_wrong_time(directory: Path) -> None:
    for seconds in ("-1", "nan", "x"):
        said = run("compact", directory, f"--timeout={seconds}", code=2).stderr
        assert f"argument --timeout: a time in seconds is 0 or more, not {seconds!r}" in said


def test_a_dry_run_says_what_would_be_done(directory: Path) -> None:
    leave_all(directory)
    options = ("--pid", "stock")
    planned = run_json("compact", directory, *options, "--dry-run", code=1)
    assert planned["files"] == [
        {"name": "counter_dead-1.db", "action": "fold"},
        {"name": "counter_dead-2.db", "action": "fold"},
        {"name": "counter_stock.db", "action": "fold"},
        {"name": "gauge_livesum_dead-1.db", "action": "delete"},
        {"name": "gauge_livesum_dead-2.db", "action": "delete"},
    ]
    text = run("compact", directory, *options, "--dry-run", code=1).stdout
    assert text.startswith("would fold 3 files of 3 processes, delete 2 more, and free ")
    done = run_json("compact", directory, *options, code=1)
    assert_planned(planned, done)


def assert_planned(planned: dict[str, Any], done: dict[str, Any]) -> None:
    for name in ("processes", "files_folded", "files_deleted", "bytes_freed"):
        assert planned[name] == done[name]
    alone = [sorted(map(str, document["left_alone"])) for document in (planned, done)]
    assert alone[0] == alone[1]


@pytest.mark.parametrize("options", [(), ("--drop-all",), ("--pid", "stock", "--pid", "x")])
def test_a_dry_run_with_damaged_files(options: tuple[str, ...], directory: Path) -> None:
    """What is deleted is not read, and a metric with another type elsewhere is no damage."""
    leave_all(directory)
    sound = (directory / "counter_dead-1.db").read_bytes()
    for kind in ("gauge_livesum", "gauge_max", "gauge_all", "summary"):
        (directory / f"{kind}_cut.db").write_bytes(sound[:40])
    bucket = {"path": "a", "le": "1.0"}
    write_ours(directory / "histogram_type.db", Entry("requests", "requests_bucket", bucket))
    stock = write(directory / "counter_x.db", [counter(1)])
    stock.write_bytes(stock.read_bytes()[:40])
    write_ours(directory / "histogram_le.db", Entry("h", "h_bucket", {"le": "x"}, value=1))
    planned = run_json("compact", directory, *options, "--dry-run", code=1)
    names = {left["path"].rpartition("/")[2] for left in planned["left_alone"]}
    assert {"counter_damaged.db", "gauge_max_cut.db", "summary_cut.db", "histogram_le.db"} <= names
    assert_planned(planned, run_json("compact", directory, *options, code=1))


def test_a_dry_run_with_statements_and_removed_series(directory: Path) -> None:
    write_ours(directory / "info_1.db", Entry("build", "build_info", {"version": "1"}, value=1))
    write_ours(directory / "stateset_1.db", Entry("state", "state", {"state": "on"}, value=1))
    removed = Entry("requests", "requests_total", timestamp=-(2.0**52))
    write_ours(directory / "counter_1.db", removed)
    write_ours(directory / "summary_1.db")
    assert "dead; the next compaction deletes it" in run("status", directory, "--all").stdout
    planned = run_json("compact", directory, "--dry-run")
    assert planned["files_deleted"] == 3
    assert_planned(planned, run_json("compact", directory))


def test_a_dry_run_that_drops_gauges(directory: Path) -> None:
    leave_all(directory)
    planned = run_json("compact", directory, "--drop-all", "--dry-run", code=1)
    by_variable = run_json("compact", directory, "--dry-run", code=1, MULTIPROM_DROP_ALL=" On ")
    assert planned["files"] == by_variable["files"]
    done = run_json("compact", directory, "--drop-all", code=1)
    assert planned["files_deleted"] == done["files_deleted"] == 3


def test_a_dry_run_with_a_damaged_archive(directory: Path) -> None:
    leave_dead(directory, 1)
    run("compact", directory)
    leave_dead(directory, 2)
    archive = directory / "counter_compacted.db"
    archive.write_bytes(archive.read_bytes()[:40])
    planned = run_json("compact", directory, "--dry-run", code=1)
    done = run_json("compact", directory, code=1)
    assert planned["files"] == [{"name": "gauge_livesum_2.db", "action": "delete"}]
    (left,) = planned["left_alone"]
    assert left["path"] == str(archive)
    assert_planned(planned, done)


def test_a_metric_that_has_changed_its_type_is_no_damage_of_an_archive(directory: Path) -> None:
    leave_dead(directory, 1)
    run("compact", directory)
    bucket = {"path": "a", "le": "1.0"}
    entries = [Entry("requests", "requests_bucket", bucket, value=n) for n in (1, 2)]
    write_ours(directory / "histogram_2.db", *entries)
    write_ours(directory / "counter_3.db", counter(1, "jobs"))
    files = run_json("status", directory, code=1)["files"]
    problems = {file["name"]: [found["damage"] for found in file["problems"]] for file in files}
    assert problems["counter_compacted.db"] == ["changed_metric"]
    planned = run_json("compact", directory, "--dry-run")
    assert planned["left_alone"] == run_json("compact", directory)["left_alone"] == []
    assert {"name": "counter_3.db", "action": "fold"} in planned["files"]


def test_a_dry_run_in_a_directory_that_may_not_be_written(directory: Path) -> None:
    options = ("compact", directory, "--dry-run")
    directory.chmod(0o555)
    try:
        run(*options, privileges=False)
        directory.chmod(0o755)
        leave_dead(directory, 1)
        directory.chmod(0o555)
        said = run(*options, code=3, privileges=False).stderr
        run("compact", directory, code=3, privileges=False)
    finally:
        directory.chmod(0o755)
    assert said == (
        f"multiprom: cannot fold anything: the directory {str(directory)!r} is not writable\n"
    )


def test_progress_is_shown_in_a_terminal(directory: Path) -> None:
    leave_dead(directory, *range(300))
    with compacting(directory) as lock:
        terminal = Terminal("compact", directory)
        terminal.read(until="[..............................] 0 of 600 files")
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert terminal.finish() == 0
    assert "folded 300 files of 300 processes, deleted 300 more" in terminal.text


def test_ctrl_c_ends_it_at_once(directory: Path) -> None:
    leave_dead(directory, 1)
    with compacting(directory):
        terminal = Terminal("compact", directory)
        terminal.read(until="0 of 2 files")
        terminal.press("\x03")
        assert terminal.finish() == 130
    assert "folded 1 file" in run("compact", directory).stdout
