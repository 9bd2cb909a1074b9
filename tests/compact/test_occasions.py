"""When a sweep is made without any hook, how often, of how much, and what keeps it away."""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom import _core
from prometheus_client import CollectorRegistry
from support import ours
from support.deaths import fold
from support.files import Entry, counter, write, write_ours
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def collect(directory: Path) -> float:
    metrics = multiprom.MultiProcessCollector(None, directory).collect()
    return sum(sample.value for metric in metrics for sample in metric.samples)


def text(directory: Path) -> float:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry, directory)
    lines = multiprom.generate_latest(registry).decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if not line.startswith("#"))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.db")}


each_scrape = pytest.mark.parametrize("scrape", [collect, text])


@each_scrape
@pytest.mark.usefixtures("automatic")
def test_a_scrape_sweeps(directory: Path, scrape: Callable[[Path], float]) -> None:
    write_ours(directory / "counter_1.db", counter(0.1))
    write_ours(directory / "counter_2.db", counter(0.2))
    # prometheus_client's own say nothing of their process.
    write(directory / "counter_3.db", [counter(0.4)])
    assert scrape(directory) == math.fsum((0.1, 0.2, 0.4))
    assert names(directory) == {"counter_compacted.db", "counter_3.db"}
    assert scrape(directory) == math.fsum((0.1, 0.2, 0.4))


@pytest.mark.usefixtures("automatic")
def test_a_writer_that_begins_sweeps(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(0.1))
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(0.2)
        assert names(directory) == {"counter_compacted.db", "counter_w.db"}
        write_ours(directory / "counter_2.db", counter(0.4))
        # Only who counts after it has opened a file sweeps.
        ours.value(made).inc(1)
        assert "counter_2.db" in names(directory)
        ours.value(made, typ="gauge", mode="max").set(0)
        assert names(directory) == {"counter_compacted.db", "counter_w.db", "gauge_max_w.db"}


@pytest.mark.usefixtures("automatic")
def test_a_living_process_that_closed_its_files_counts_on(directory: Path) -> None:
    """Its closed files are still its own: they are not folded, and what counts again goes on."""
    with ours.value_class(lambda: "w") as made:
        value = ours.value(made)
        value.inc(0.1)
        for times in range(3):
            made.close_all_files()
            assert collect(directory) == math.fsum((0.1, *[0.25] * times))
            value.inc(0.25)
            assert names(directory) == {"counter_w.db"}


@each_scrape
@pytest.mark.usefixtures("automatic")
def test_not_more_often_than_once_in_a_while(
    directory: Path, scrape: Callable[[Path], float]
) -> None:
    """In five seconds, and once for writers and once for scrapes, as tests of the core say."""
    _core.reset_compaction()
    other = directory / "other"
    other.mkdir()
    for sweeps in (True, False, False):
        path = write_ours(directory / "counter_1.db", counter(0.5))
        scrape(directory)
        assert path.exists() is not sweeps
    # Each directory has a time of its own.
    path = write_ours(other / "counter_1.db", counter(0.5))
    scrape(other)
    assert not path.exists()


@pytest.mark.usefixtures("automatic")
def test_a_sweep_is_bounded(directory: Path) -> None:
    for number in range(300):
        write_ours(directory / f"counter_{number}.db", counter(0.5))
    assert collect(directory) == 150
    assert len(names(directory)) == 300 - 256 + 1
    assert collect(directory) == 150
    assert names(directory) == {"counter_compacted.db"}


# Neither this nor a larger number is the pid of a process.
NO_PID = 1 << 30
# More than a small archive, and far more than the files beside it hold.
LARGE = Entry("large", "large_total", help="x" * (200 << 10))


def by_hook(directory: Path, pid: int) -> None:
    assert fold(str(directory), pid).left_alone == ()


def by_scrape(directory: Path, _pid: int) -> None:
    collect(directory)


def by_writer(_directory: Path, _pid: int) -> None:
    with ours.value_class(lambda: "w") as made:
        ours.value(made, "g", typ="gauge", mode="liveall").set(0)


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize("look", [by_hook, by_scrape, by_writer])
def test_files_wait_for_a_large_archive(directory: Path, look: Callable[[Path, int], None]) -> None:
    """To fold one would write all of it anew. No total changes, and no live gauge waits."""
    write_ours(directory / "counter_0.db", LARGE)
    multiprom.compact()
    for number in range(1, 33):
        pid = NO_PID + number
        write_ours(directory / f"counter_{pid}.db", counter(0.1))
        write_ours(directory / f"gauge_livesum_{pid}.db", Entry("l", "l", value=1))
        # Its archive is small, so that it does not wait.
        write_ours(directory / f"gauge_max_{pid}.db", Entry("m", "m", value=1))
        look(directory, pid)
        assert len(list(directory.glob("counter_*.db"))) == 1 + number % 16
        assert not list(directory.glob("gauge_livesum_*.db"))
        assert [path.name for path in directory.glob("gauge_max*")] == ["gauge_max_compacted.db"]
        found = multiprom.MultiProcessCollector.merge(sorted(directory.glob("counter_*.db")))
        totals = {sample.name: sample.value for metric in found for sample in metric.samples}
        assert totals["requests_total"] == math.fsum([0.1] * number)
    write_ours(directory / f"counter_{NO_PID}.db", counter(0.1))
    look(directory, NO_PID)
    assert multiprom.compact().files_folded == 1


@each_scrape
@pytest.mark.parametrize("value", ["off", "OFF", "0"])
@pytest.mark.usefixtures("automatic")
def test_it_can_be_turned_off(
    directory: Path, scrape: Callable[[Path], float], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any time; what is asked for is done anyway."""
    write_ours(directory / "counter_1.db", counter(0.5))
    monkeypatch.setenv("MULTIPROM_COMPACTION", value)
    assert scrape(directory) == 0.5
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(0)
    assert names(directory) == {"counter_1.db", "counter_w.db"}
    assert multiprom.compact().files_folded == 2


@each_scrape
@pytest.mark.usefixtures("automatic")
def test_all_gauges_go_if_the_user_says_so(
    directory: Path, scrape: Callable[[Path], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ours(directory / "gauge_all_1.db", Entry("g", "g", value=2))
    assert scrape(directory) == 2
    monkeypatch.setenv("MULTIPROM_DROP_ALL", "1")
    assert scrape(directory) == 0
    assert names(directory) == set()


@each_scrape
@pytest.mark.usefixtures("automatic")
def test_where_nothing_can_be_locked_nothing_is_said(
    directory: Path, scrape: Callable[[Path], float], caplog: pytest.LogCaptureFixture
) -> None:
    """Such as in a directory that may only be read."""
    path = write_ours(directory / "counter_1.db", counter(0.5))
    (directory / ".multiprom.lock").symlink_to(".multiprom.lock")
    with pytest.raises(OSError, match="levels of symbolic links"):
        multiprom.compact()
    caplog.set_level(logging.INFO)
    assert scrape(directory) == 0.5
    assert scrape(directory) == 0.5
    assert path.exists()
    assert caplog.records == []


@pytest.mark.usefixtures("automatic")
def test_beside_another_compaction_it_does_not_wait(directory: Path) -> None:
    path = write_ours(directory / "counter_1.db", counter(0.5))
    ready, tell = os.pipe()
    end, release = os.pipe()
    script = f"""
    import fcntl, os
    lock = open({str(directory / ".multiprom.lock")!r}, "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write({tell}, b".")
    os.read({end}, 1)
    """
    pid = os.fork()
    if pid == 0:
        try:
            exec(script.replace("\n    ", "\n"))
        finally:
            os._exit(0)
    os.read(ready, 1)
    try:
        assert collect(directory) == 0.5
        assert path.exists()
    finally:
        os.write(release, b".")
        os.waitpid(pid, 0)
    assert collect(directory) == 0.5
    assert not path.exists()


class Raising(logging.Handler):
    """Raises when it is told of files that stay."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self._error = error

    def handle(self, record: logging.LogRecord) -> bool:
        if "files of dead processes stay" in record.getMessage():
            raise self._error
        return True


@pytest.fixture
def raising(directory: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a sweep find files that must stay, which a log handler does not want to hear of."""
    for pid, mode in [(1, 0o600), (2, 0o640)]:
        write_ours(directory / f"counter_{pid}.db", counter(1)).chmod(mode)
    handler = Raising(request.param)
    logging.getLogger("multiprom").addHandler(handler)
    yield
    logging.getLogger("multiprom").removeHandler(handler)


@pytest.mark.usefixtures("automatic", "raising")
@pytest.mark.parametrize("raising", [SystemExit, KeyboardInterrupt], indirect=True)
def test_what_interrupts_a_program_is_not_swallowed(
    directory: Path, request: pytest.FixtureRequest
) -> None:
    """A signal handler may run in the log call: what it raises must reach the program."""
    with ours.value_class(lambda: "w") as made:
        with pytest.raises(request.node.callspec.params["raising"]):
            ours.value(made).inc(0)
        ours.value(made).inc(2)
        assert collect_files(directory) == 4


def collect_files(directory: Path) -> float:
    metrics = multiprom.MultiProcessCollector.merge(directory.glob("*.db"))
    return sum(sample.value for metric in metrics for sample in metric.samples)


@pytest.mark.usefixtures("automatic", "raising")
@pytest.mark.parametrize("raising", [ValueError], indirect=True)
def test_a_failing_sweep_does_not_keep_from_counting(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failures.append)
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(2)
    assert collect_files(directory) == 4
    assert [failure.exc_type for failure in failures] == [ValueError]


def test_subprocesses_that_inherit_the_variable_leave_nothing(tmp_path: Path) -> None:
    """Each imports the application, counts or does not, and ends: files for ever, so far."""
    script = """
    import os, subprocess, sys
    from multiprom import _core
    _core.reset_compaction(sweep_seconds=0)
    import multiprom
    multiprom.install()
    from prometheus_client import Counter, Gauge, Histogram
    imported = [Counter("c", "C"), Histogram("h", "H"), Gauge("g", "G", multiprocess_mode="max"),
                Gauge("l", "L", multiprocess_mode="liveall")]
    if sys.argv[1] == "child":
        imported[0].inc(0.1)
        raise SystemExit
    seen = []
    for _ in range(10):
        subprocess.run([sys.executable, *sys.orig_argv[1:-1], "child"], check=True)
        seen.append(len(list(os.scandir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))))
    print(max(seen))
    collector = multiprom.MultiProcessCollector(None)
    print([s.value for m in collector.collect() for s in m.samples if s.name == "c_total"])
    print(sorted(name.rpartition("_")[0] for name in
                 os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if "compacted" in name))
    """
    out = run(
        script,
        "parent",
        MULTIPROM_COMPACTION="on",
        PROMETHEUS_MULTIPROC_DIR=tmp_path,
    )
    most, total, kinds = out.splitlines()
    # The lock, three archives, and of the parent and the latest child a slot and four files each.
    assert int(most) <= 14
    assert total == "[1.0]"
    assert kinds == "['counter', 'gauge_max', 'histogram']"


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize("mode", ["all", "max", "min", "sum", "livemax", "livesum"])
def test_a_gauge_goes_on_from_where_its_closed_file_was(directory: Path, mode: str) -> None:
    with ours.value_class(lambda: "w") as made:
        gauge = ours.value(made, "gauge", typ="gauge", mode=mode)
        gauge.inc(5)
        made.close_all_files()
        multiprom.compact(drop_all=True)
        gauge.inc(-7)
        metrics = multiprom.MultiProcessCollector(None, directory).collect()
        [value] = [sample.value for metric in metrics for sample in metric.samples]
        assert (value, gauge.get()) == (-2, -2)


@pytest.mark.parametrize("fate", ["folded", "removed", "kept"])
def test_a_sum_gauge_is_set_anew_whatever_became_of_its_closed_file(
    directory: Path, fate: str
) -> None:
    with ours.value_class(lambda: "w") as made:
        gauge = ours.value(made, "gauge", typ="gauge", mode="sum")
        gauge.set(5)
        made.close_all_files()
        if fate == "folded":
            # It is not: the living process has its lock.
            assert multiprom.compact().files_folded == 0
        elif fate == "removed":
            (directory / "gauge_sum_w.db").unlink()
        gauge.set(3)
        assert (collect(directory), gauge.get()) == (3, 3)


def test_an_empty_file_of_a_kind_that_is_not_folded_stays(directory: Path) -> None:
    for kind in ("counter", "gauge_sum", "gauge_livesum", "gauge_all"):
        write_ours(directory / f"{kind}_1.db")
    assert multiprom.compact().files_deleted == 3
    assert names(directory) == {"gauge_all_1.db"}
    assert multiprom.compact(drop_all=True).files_deleted == 1
