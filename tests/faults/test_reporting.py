"""What a scrape cannot read is reported once per process, and can be asked for, or fails it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files
from support.equality import samples
from support.files import counter, entry_bytes, file_bytes, write, write_ours
from support.folders import let_others_reach
from support.interpreters import command, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable


FIRST = entry_bytes(counter(1).key(), 1)
BEHIND_FIRST = files.HEADER + len(FIRST)
TRUNCATED = file_bytes([FIRST, entry_bytes(counter(1, a="b").key(), 1)])[:-3]


@pytest.fixture
def damaged(directory: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.DEBUG, "multiprom")
    path = directory / "counter_1.db"
    path.write_bytes(TRUNCATED)
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "multiprom" and record.levelno == logging.WARNING
    ]


def reports(directory: Path) -> list[multiprom.LeftOut]:
    return [report for report in multiprom.left_out() if Path(report.path).parent == directory]


def test_one_warning_with_path_offset_and_reason(
    directory: Path, damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    multiprom.MultiProcessCollector(None).collect()
    (report,) = reports(directory)
    assert report.path == str(damaged)
    assert report.offset == BEHIND_FIRST
    assert report.reason
    (message,) = warnings(caplog)
    assert str(damaged) in message
    assert str(BEHIND_FIRST) in message
    assert report.reason in message


def test_not_again_at_each_scrape(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry)
    for _ in range(3):
        collector.collect()
        multiprom.generate_latest(registry)
        openmetrics_latest(registry)
        multiprom.MultiProcessCollector.merge([str(damaged)])
        multiprom.MultiProcessCollector._read_metrics([str(damaged)])
        multiprom.MultiProcessCollector(None).collect()
    assert len(warnings(caplog)) == 1


def test_not_by_several_threads(
    directory: Path, damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    together = threading.Barrier(8)

    def scrape() -> None:
        together.wait()
        for _ in range(20):
            multiprom.generate_latest(registry)

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings(caplog)) == 1
    assert [report.path for report in reports(directory)] == [str(damaged)]


def test_each_file(directory: Path, damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = directory / "counter_2.db"
    other.write_bytes(TRUNCATED)
    multiprom.MultiProcessCollector(None).collect()
    assert sorted(str(path) in text for text in warnings(caplog) for path in (damaged, other)) == [
        False,
        False,
        True,
        True,
    ]


def test_skipped_entries_are_counted(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = entry_bytes(b"no key", 1)
    (directory / "counter_1.db").write_bytes(file_bytes([bad, FIRST, bad, bad]))
    collector = multiprom.MultiProcessCollector(None)
    for _ in range(2):
        assert samples(collector.collect()) == {("requests_total", ()): 1}
        (report,) = reports(directory)
        assert (report.offset, report.entries) == (files.HEADER, 3)
    assert len(warnings(caplog)) == 1


def test_a_report_is_a_tuple(directory: Path, damaged: Path) -> None:
    assert isinstance(multiprom.left_out(), tuple)
    multiprom.MultiProcessCollector(None).collect()
    (report,) = reports(directory)
    assert isinstance(report, multiprom.LeftOut)
    assert report._fields == ("path", "offset", "reason", "entries")
    path, offset, reason, entries = report
    assert (path, offset, type(reason), entries) == (str(damaged), BEHIND_FIRST, str, 0)


@pytest.mark.parametrize("ending", ["", "/", "//", "/."])
def test_a_repaired_file_is_reported_no_more(directory: Path, damaged: Path, ending: str) -> None:
    collector = multiprom.MultiProcessCollector(None, f"{directory}{ending}")
    collector.collect()
    assert len(reports(directory)) == 1
    write(damaged, [counter(2)])
    assert samples(collector.collect()) == {("requests_total", ()): 2}
    assert reports(directory) == []


def repair(path: Path) -> None:
    write(path, [counter(2)])


class OwnMerge(multiprom.MultiProcessCollector):
    """Its merge is its own, so that collect() must list the files for it."""

    @staticmethod
    def merge(files: Any, accumulate: bool = True) -> Any:
        return multiprom.MultiProcessCollector.merge(files, accumulate)


class OwnSteps(multiprom.MultiProcessCollector):
    """One half of its merge is its own."""

    @staticmethod
    def _accumulate_metrics(metrics: Any, accumulate: bool) -> Any:
        return multiprom.MultiProcessCollector._accumulate_metrics(metrics, accumulate)


@pytest.mark.parametrize("end", [repair, Path.unlink])
@pytest.mark.parametrize(
    "scrape",
    [
        lambda path: multiprom.MultiProcessCollector.merge([path]),
        lambda path: multiprom.MultiProcessCollector.merge([str(path)], accumulate=False),
        lambda path: multiprom.MultiProcessCollector._read_metrics([path]),
        lambda path: OwnMerge(None, path.parent).collect(),
        lambda path: OwnSteps(None, path.parent).collect(),
    ],
    ids=["merge", "merge of str", "_read_metrics", "own merge", "own steps"],
)
def test_whoever_reads_a_file_again_forgets_its_damage(
    directory: Path,
    damaged: Path,
    scrape: Callable[[Path], object],
    end: Callable[[Path], object],
) -> None:
    other = directory / "counter_2.db"
    other.write_bytes(TRUNCATED)
    multiprom.MultiProcessCollector(None).collect()
    assert [report.path for report in reports(directory)] == [str(damaged), str(other)]
    end(damaged)
    scrape(damaged)
    assert [report.path for report in reports(directory)] == [str(other)]


@pytest.mark.usefixtures("damaged")
def test_sound_files_are_not_reported(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    (directory / "counter_1.db").unlink()
    write(directory / "counter_2.db", [counter(1)])
    (directory / "counter_3.db").touch()
    multiprom.MultiProcessCollector(None).collect()
    assert caplog.records == []
    assert reports(directory) == []


def test_once_in_each_process(directory: Path, damaged: Path) -> None:
    script = """
        import logging, sys
        import multiprom
        logging.basicConfig(format="%(levelname)s %(name)s %(message)s", stream=sys.stdout)
        for _ in range(3):
            multiprom.MultiProcessCollector(None).collect()
    """
    for _ in range(2):
        (line,) = run(script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines()
        assert line.startswith("WARNING multiprom ")
        assert str(damaged) in line


def test_is_seen_without_any_logging_set_up(directory: Path, damaged: Path) -> None:
    """Python itself prints warnings then, which is how small programs learn of them."""
    script = "import multiprom; multiprom.MultiProcessCollector(None).collect()"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(damaged) in result.stderr


# Files that the scraping process may not read, such as those of another user.
#
# An empty page with status 200 would show a service without metrics as a sound one (`up` is 1).

SCRAPE = """
import sys
import multiprom
from prometheus_client import CollectorRegistry
from support.scripts import become_nobody
registry = CollectorRegistry()
multiprom.generate_latest(registry)
collector = multiprom.MultiProcessCollector(registry)
become_nobody()
for scrape in (lambda: multiprom.generate_latest(registry), collector.collect):
    try:
        print(len(scrape()) > 0)
    except OSError as error:
        print(type(error).__name__, error.filename == sys.argv[1], "of 2" in str(error))
"""


def scrape(directory: Path, file: Path) -> str:
    done = subprocess.run(
        command(SCRAPE, file),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def two_files(directory: Path) -> list[Path]:
    let_others_reach(directory).chmod(0o755)
    return [
        write_ours(directory / "counter_1.db", counter(1)),
        write(directory / "counter_2.db", [counter(1)]),
    ]


def test_none_can_be_read(two_files: list[Path], directory: Path) -> None:
    for file in two_files:
        file.chmod(0o000)
    assert scrape(directory, two_files[0]) == "PermissionError True True\n" * 2


def test_some_can_be_read(two_files: list[Path], directory: Path) -> None:
    two_files[0].chmod(0o000)
    two_files[1].chmod(0o644)
    assert scrape(directory, two_files[0]) == "True\n" * 2


def test_none_is_there(two_files: list[Path], directory: Path) -> None:
    for file in two_files:
        file.unlink()
    assert "PermissionError" not in scrape(directory, two_files[0])
