"""`multiprom doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom.cli import checks
from support.command_line import run, run_json
from support.files import Entry, counter, write, write_ours
from support.interpreters import another
from support.service import leave_all, leave_dead, living

if TYPE_CHECKING:
    from pathlib import Path


SERVER = """
import os, sys
from multiprom import _core
_core.hold_slot(os.environ["PROMETHEUS_MULTIPROC_DIR"], "{role}")
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


def findings(path: Path, code: int = 0, **variables: Any) -> dict[tuple[str, str], str]:
    """Return the texts of what the doctor finds, by check and level, the last of several."""
    found = run_json("doctor", path, code=code, **variables)["findings"]
    assert all(finding["advice"] for finding in found if finding["level"] in ("warning", "problem"))
    return {(finding["check"], finding["level"]): finding["text"] for finding in found}


def test_a_sound_service(directory: Path) -> None:
    with living(directory):
        assert "only the next scrape" in findings(directory)["hook", "note"]
        with another(directory, SERVER.format(role="master")):
            found = findings(directory, PROMETHEUS_MULTIPROC_DIR=directory)
            text = run("doctor", PROMETHEUS_MULTIPROC_DIR=directory).stdout
    assert {level for _, level in found} == {"ok"}
    assert found["processes", "ok"] == "2 processes of the service alive"
    assert "     ok  PROMETHEUS_MULTIPROC_DIR names the directory\n" in text


@pytest.mark.parametrize(
    ("variables", "level", "text"),
    [
        ({}, "note", "is not set here"),
        ({"prometheus_multiproc_dir": "/x"}, "warning", "deprecated"),
        ({"PROMETHEUS_MULTIPROC_DIR": "/x"}, "note", "another directory"),
        ({"PROMETHEUS_MULTIPROC_DIR": "x"}, "warning", "working directory"),
        ({"MULTIPROM_COMPACTION": "perhaps"}, "warning", "not understood, and stays on"),
        ({"MULTIPROM_DROP_ALL": "perhaps"}, "warning", "not understood, and stays off"),
        ({"MULTIPROM_WORKER_METRICS": "2"}, "warning", "not understood, and stays off"),
        ({"MULTIPROM_SERIES_LIMIT": "1,000"}, "warning", "there is no limit"),
        ({"MULTIPROM_SERIES_LIMIT": "-5"}, "warning", "not a whole number from 0 up"),
        ({"MULTIPROM_METRICS_ADDR": "9464"}, "warning", "'9464', which is not HOST:PORT"),
    ],
)
def test_variables(directory: Path, variables: dict[str, str], level: str, text: str) -> None:
    found = findings(directory, int(level == "warning"), **variables)
    assert text in found["variable", level]


def test_variables_that_are_understood(directory: Path) -> None:
    found = findings(
        directory,
        MULTIPROM_COMPACTION="Off",
        MULTIPROM_DROP_ALL="yes",
        MULTIPROM_WORKER_METRICS="1",
        MULTIPROM_SERIES_LIMIT=" +1000 ",
        MULTIPROM_METRICS_ADDR=" [::1]:9464 ",
    )
    assert ("variable", "warning") not in found


def test_another_directory_than_that_of_the_metrics(directory: Path) -> None:
    question = "no metrics files are here: is it the right directory?"
    (directory / "cache.db").write_bytes(b"SQLite format 3\0")
    assert f"   note  {question}\n" in run("doctor", directory).stdout
    assert question in run("status", directory).stdout
    with living(directory):
        assert question not in run("doctor", directory).stdout
        assert question not in run("status", directory).stdout


def test_a_directory_that_cannot_be_used(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, reason in (("missing", "No such file"), ("file", "Not a directory")):
        assert reason in findings(tmp_path / name, 1)["directory", "problem"]
    directory.chmod(0o000)
    try:
        text = run("doctor", directory, code=1, privileges=False).stdout
    finally:
        directory.chmod(0o755)
    assert "problem" in text
    assert "Permission denied" in " ".join(text.split())


def test_rights(directory: Path) -> None:
    directory.chmod(0o777)
    assert "every user" in findings(directory, 1)["directory", "warning"]
    directory.chmod(0o1777)
    assert ("directory", "ok") in findings(directory)
    directory.chmod(0o555)
    text = run("doctor", directory, code=1, privileges=False).stdout
    assert "is not writable" in text


def test_the_dead_that_nobody_folds(directory: Path) -> None:
    leave_dead(directory, 1, 2)
    assert "4 files of dead processes" in findings(directory)["dead", "note"]
    leave_dead(directory, *range(3, 30))
    assert "58 files of dead processes" in findings(directory, 1)["dead", "warning"]


def test_the_dead_that_wait_for_a_large_archive(directory: Path) -> None:
    for kind in ("counter", "histogram", "summary"):
        for process in range(15):
            write_ours(directory / f"{kind}_{process}.db", Entry(kind, f"{kind}_sum", value=1))
    assert "45 files of dead processes" in findings(directory)["dead", "note"]


def test_the_dead_that_are_kept(directory: Path) -> None:
    for process in range(101):
        write_ours(directory / f"gauge_all_{process}.db", Entry("busy", "busy", value=1))
    assert "101 files of gauges" in findings(directory, 1)["dead", "warning"]
    (directory / "gauge_all_0.db").unlink()
    assert ("dead", "warning") not in findings(directory)


def test_damage_and_strays(directory: Path) -> None:
    leave_all(directory)
    found = findings(directory, 1)
    assert "counter_damaged.db at byte 8" in found["damage", "problem"]
    assert found["files", "note"] == "1 file of other programs: cache.db"
    assert "so that nothing tells whether it lives: stock" in found["processes", "note"]
    for number in range(4):
        write_ours(directory / f"counter_{number}.db").write_bytes(b"x" * 7)
    assert findings(directory, 1)["damage", "problem"] == "5 files are damaged"


def test_the_advice_for_damage_warns_of_totals_that_fall(directory: Path) -> None:
    leave_dead(directory, 1)
    multiprom.compact(directory)
    archive = directory / "counter_compacted.db"
    archive.write_bytes(archive.read_bytes()[:40])
    write_ours(directory / "counter_2.db", counter(1)).write_bytes(b"x" * 7)
    found = run_json("doctor", directory, code=1)["findings"]
    file, of_archive = (finding for finding in found if finding["check"] == "damage")
    assert "counter_2.db" in file["text"]
    assert (
        "remove it only if no process uses it, and only if these totals may fall"
        in (file["advice"])
    )
    assert "counter_compacted.db" in of_archive["text"]
    assert of_archive["advice"] == (
        "It holds what dead processes counted. What is readable counts, and nothing more of this "
        "kind is folded. Copy it; remove it only if these totals may fall."
    )


def test_hooks_that_gunicorn_does_not_call(directory: Path) -> None:
    """Those that leave a metric; the others cannot be told of."""
    server = SERVER.format(role="master")
    counted: dict[str, Any] = {"MULTIPROM_WORKER_METRICS": "1"}
    importing = server.replace("print(", "import multiprom.gunicorn\nprint(")
    configured = importing.replace("print(", "_core.set_configured(2)\nprint(")
    spawning = configured.replace("print(", "_core.pre_fork(None, None)\nprint(")
    for script, missing in ((importing, "nworkers_changed and pre_fork"), (configured, "pre_fork")):
        with another(directory, script, **counted):
            note = findings(directory, **counted)["hook", "note"]
            (advice,) = (
                finding["advice"]
                for finding in run_json("doctor", directory, **counted)["findings"]
                if finding["check"] == "hook"
            )
            assert ("hook", "ok") in findings(directory, MULTIPROM_WORKER_METRICS="off")
        assert f"gunicorn does not call multiprom's {missing}: then nobody" in note
        assert note.endswith(", nobody counts the workers that start") == ("and" in missing)
        assert "without pre_fork, MULTIPROM_METRICS_ADDR has no effect" in advice
    with another(directory, spawning, **counted):
        assert ("hook", "ok") in findings(directory, **counted)


def test_two_servers(directory: Path) -> None:
    master = SERVER.format(role="master")
    with another(directory, master) as (_, first):
        assert ("processes", "warning") not in findings(directory)
        with another(directory, master) as (_, second):
            text = findings(directory, 1)["processes", "warning"]
    assert text == f"2 servers use the directory: {first}, {second}"


def test_a_worker_that_counts_in_memory(directory: Path) -> None:
    with another(directory, SERVER.format(role="worker")) as (_, pid):
        text = findings(directory, 1)["processes", "warning"]
    assert text == f"1 worker without any file: {pid}"


def test_a_label_with_too_many_values(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1, path=str(n)) for n in range(1100)])
    assert "'path' of 'requests' has 1,100" in findings(directory, 1)["labels", "warning"]


def test_files_that_cannot_be_read(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1)]).chmod(0o000)
    text = run("doctor", directory, code=1, privileges=False).stdout
    assert "a scrape is not possible" in text


def test_little_room(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 0, 4096, 100, 5

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    full, few = checks._space(str(directory))
    assert (full.level, few.level) == ("problem", "warning")
    Full.f_bavail = 10
    assert next(checks._space(str(directory))).level == "warning"


def test_the_file_system_is_named() -> None:
    assert checks.file_system("/proc/self") == "proc"
    assert checks.file_system("/dev/shm") == "tmpfs"
