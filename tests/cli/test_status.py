"""`multiprom status`: who lives, which files are there and why, damage, and the largest metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support.command_line import run, run_json
from support.files import Entry, counter, write, write_ours
from support.service import leave_all, leave_dead, living

if TYPE_CHECKING:
    from pathlib import Path


def section(text: str, title: str) -> list[list[str]]:
    """Return the cells of the lines below a title, without the headings."""
    lines = text.splitlines()
    start = lines.index(title) + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("  ")), len(lines))
    return [[cell.strip() for cell in line.split("  ") if cell] for line in lines[start:end]][1:]


def test_processes(directory: Path) -> None:
    leave_dead(directory, "dead")
    with living(directory) as (_, pid):
        text = run("status", directory).stdout
        processes = run_json("status", directory)["processes"]
    alive, dead = section(text, "Processes")
    assert alive[:5] == ["0", str(pid), "worker", "alive", "2"]
    assert alive[5].endswith("MiB")
    assert alive[-1] == "it holds the lock of its slot"
    assert dead[1:5] == ["dead", "-", "dead", "2"]
    assert (processes[0]["pid"], processes[0]["life"]) == (pid, "alive")
    assert processes[0]["usage"]["resident_bytes"] > 1 << 20


def test_files_and_why_each_is_there(directory: Path) -> None:
    leave_all(directory)
    with living(directory):
        lines = section(run("status", directory, code=1).stdout, "Files")
        each = section(run("status", directory, "--all", code=1).stdout, "Files")
    found = {(line[0], line[1], line[2]): line[-1] for line in lines}
    assert found["live", "counter", "1"] == "a living process counts in it"
    assert found["archive", "counter", "1"] == "what dead processes counted"
    assert "compaction folds it" in found["dead", "counter", "2"]
    assert found["dead", "gauge livesum", "2"].endswith("the next compaction deletes it")
    assert "MULTIPROM_DROP_ALL" in found["dead", "gauge all", "1"]
    assert found["unknown", "counter", "1"].endswith("prometheus_client wrote it")
    assert found["foreign", "-", "1"] == "it is no metrics file; nobody reads it"
    assert len(each) == len(list(directory.glob("*.db")))
    assert ["cache.db", "foreign"] in [line[:2] for line in each]


def test_damage(directory: Path) -> None:
    leave_all(directory)
    ((name, offset, entries, reason),) = section(run("status", directory, code=1).stdout, "Damage")
    assert (name, offset, entries) == ("counter_damaged.db", "8", "the rest")
    assert "the file ends" in reason
    files = run_json("status", directory, code=1)["files"]
    (problem,) = next(file for file in files if file["name"] == name)["problems"]
    assert (problem["offset"], problem["reason"]) == (8, reason)


def test_the_largest_metrics_and_their_labels(directory: Path) -> None:
    wide = [counter(1, "wide", path=str(n), method="GET") for n in range(30)]
    narrow = [counter(1, f"narrow_{n}") for n in range(20)]
    write_ours(directory / "counter_1.db", *narrow, *wide)
    text = run("status", directory).stdout
    first, *_, last = section(text, "Metrics with most series")
    assert first == ["wide", "counter", "30", "path 30, method 1"]
    assert last == ["and 11 metrics more (--all)"]
    families = run_json("status", directory)["families"]
    assert families[0]["name"] == "wide"
    assert families[0]["labels"] == {"path": 30, "method": 1}
    assert len(section(run("status", "--all", directory).stdout, "Metrics with most series")) == 21


def test_what_folding_would_save(directory: Path) -> None:
    leave_dead(directory, *range(9))
    write(directory / "counter_stock.db", [counter(1), counter(1, "other")])
    folding = run_json("status", directory)["folding"]
    assert (folding["files"], folding["entries"], folding["entries_of_all"]) == (18, 18, 20)
    assert folding["allocated"] > 0
    text = run("status", directory).stdout
    assert "18 files of the dead would go" in text
    assert "90% of what a scrape reads" in text
    run("compact", directory)
    assert "nothing to fold" in run("status", directory).stdout


def test_an_empty_directory(directory: Path) -> None:
    text = run("status", directory).stdout
    assert "Processes\n  none\n" in text
    document = run_json("status", directory)
    assert (document["processes"], document["files"], document["families"]) == ([], [], [])


def test_only_files_of_other_programs(directory: Path) -> None:
    (directory / "cache.db").write_bytes(b"x" * 100)
    (directory / "counter_folder.db").mkdir()
    files = run_json("status", directory)["files"]
    assert [file["state"] for file in files] == ["foreign", "foreign"]


def test_only_files_that_cannot_be_read(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1)]).chmod(0o000)
    text = run("status", directory, code=1, privileges=False).stdout
    assert "not possible" in text
    assert "counter_1.db" in text


def test_nothing_is_changed(directory: Path) -> None:
    leave_all(directory)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    run("status", directory, code=1)
    run("doctor", directory, code=1)
    run("compact", directory, "--dry-run", code=1)
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_the_same_for_programs(directory: Path) -> None:
    leave_all(directory)
    with living(directory) as (_, pid):
        document = run_json("status", directory, code=1)
        found = multiprom.inspect()
    assert found.directory == str(directory)
    assert [plain_file(file) for file in found.files] == document["files"]
    assert [family._asdict() for family in found.families] == document["families"]
    processes = [process._asdict() for process in found.processes]
    assert [{**process, "usage": None} for process in processes] == [
        {**process, "usage": None} for process in document["processes"]
    ]
    [usage] = [process.usage for process in found.processes if process.pid == pid]
    assert usage is not None
    assert usage.resident_bytes > 1 << 20
    [damaged] = [file for file in found.files if file.name == "counter_damaged.db"]
    [problem] = damaged.problems
    assert (problem.offset, problem.damage) == (8, "cut_short")
    assert (found.exists, found.scrape_error, found.is_compacting) == (True, None, False)


def plain_file(file: multiprom.FileSeen) -> dict[str, Any]:
    return {**file._asdict(), "problems": [problem._asdict() for problem in file.problems]}


def test_programs_in_directories_that_are_none(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for none in ("missing", "file"):
        missing = multiprom.inspect(tmp_path / none)
        assert (missing.exists, missing.files, missing.processes) == (False, (), ())
    empty = multiprom.inspect(directory)
    assert (empty.exists, empty.files, empty.processes, empty.families) == (True, (), (), ())
    (directory / "cache.db").write_bytes(b"SQLite format 3\0")
    (directory / "notes.txt").write_text("of nobody")
    [foreign] = multiprom.inspect(directory).files
    assert (foreign.name, foreign.state, foreign.is_counted) == ("cache.db", "foreign", False)


def test_programs_without_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR is not set"):
        multiprom.inspect()


HOSTILE = "\x1b[31m[bold]red[/bold]\n\udcff"


@pytest.mark.parametrize("rich", [True, False])
def test_names_steer_no_terminal(*, rich: bool) -> None:
    from multiprom.cli import output

    table = output.Table("Title", ("a", "b"), [(HOSTILE, 1), ("é", 2_000)], "A note.")
    text: Any = output.plain(table)
    if rich:
        from rich.console import Console

        console = Console(width=200, force_terminal=True, color_system="truecolor")
        with console.capture() as capture:
            console.print(output.rich_table(table))
        text = capture.get()
        assert "\x1b[31m" not in text
    else:
        assert "\x1b" not in text
    assert r"\x1b[31m[bold]red[/bold]\n\udcff" in text
    assert "2,000" in text
    assert "A note." in text


def test_a_histogram_is_as_large_as_in_a_scrape(directory: Path) -> None:
    buckets = [Entry("s", "s_bucket", {"le": le}, value=1) for le in ("1.0", "2.0", "+Inf")]
    write_ours(directory / "histogram_1.db", Entry("s", "s_sum", {}, value=1), *buckets)
    (family,) = run_json("status", directory)["families"]
    assert (family["series"], family["labels"]) == (5, {"le": 3})


def test_very_many_processes(directory: Path) -> None:
    """The time grows with their number, not with its square."""
    for number in range(15_000):
        (directory / f"counter_{number}.db").touch()
    start = time.process_time()
    assert len(multiprom.inspect(directory).processes) == 15_000
    assert time.process_time() - start < 5
