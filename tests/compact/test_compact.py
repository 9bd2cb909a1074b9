"""`multiprom.compact`: what it takes and does, and that both readers then see the same totals."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom import _core
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, values
from support import stock
from support.files import Entry, counter, write, write_ours
from support.interpreters import run
from support.locks import compacting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUES = (0.1, 0.2, 0.3, 1e-9, 12345.678)


def use_metrics(pid: int, amount: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as process `pid` does with prometheus_client's own classes."""
    value_class: Any = values.MultiProcessValue(process_identifier=lambda: pid)
    monkeypatch.setattr(values, "ValueClass", value_class)
    Counter("requests", "Requests.", registry=None).inc(amount)
    Summary("sizes", "Sizes.", registry=None).observe(amount)
    Histogram("times", "Times.", ["path"], registry=None).labels("/").observe(amount)
    for mode in stock.GAUGE_MODES:
        gauge = Gauge(f"gauge_{mode}", "Gauge.", registry=None, multiprocess_mode=mode)  # type: ignore[arg-type]
        gauge.set(amount)


def samples(collector: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_files_of_prometheus_client(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stock.closing():
        for pid, value in enumerate(VALUES):
            use_metrics(pid, value, monkeypatch)
    collector = multiprom.MultiProcessCollector(None, directory)
    before = {key: value for key, value in samples(collector).items() if "live" not in key[0]}
    done = multiprom.compact(directory, range(len(VALUES)))
    assert (done.processes, done.left_alone, done.busy) == (len(VALUES), (), False)
    assert samples(collector) == before
    kinds = {path.name.removesuffix("_compacted.db") for path in directory.glob("*_compacted.db")}
    assert kinds == {
        *("counter", "summary", "histogram"),
        *(f"gauge_{mode}" for mode in ("min", "max", "sum", "mostrecent")),
    }
    assert {path.name.split("_")[-1] for path in directory.glob("counter_*")} == {"compacted.db"}
    stock_samples = samples(stock.MultiProcessCollector(CollectorRegistry(), str(directory)))
    assert stock_samples.keys() == before.keys()
    assert stock_samples == pytest.approx(before, rel=1e-15)
    text = stock.generate_latest(collector_registry(directory))
    assert b"requests_total" in text


def collector_registry(directory: Path) -> Any:
    registry = CollectorRegistry()
    stock.MultiProcessCollector(registry, str(directory))
    return registry


def test_what_is_freed_is_room_on_the_disk(directory: Path) -> None:
    files = ("counter_1.db", "gauge_liveall_1.db")
    for name in files:
        # Its length grows, but not its room.
        os.truncate(write_ours(directory / name, counter(1)), 1 << 20)
    expected = sum((directory / name).stat().st_blocks * 512 for name in files)
    assert multiprom.compact().bytes_freed == expected < 1 << 20


def test_the_result_and_its_defaults(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ours(directory / "counter_1.db", counter(1))
    write_ours(directory / "gauge_all_1.db", Entry("g", "g", value=1))
    write_ours(directory / "gauge_liveall_1.db", Entry("l", "l", value=1))
    write(directory / "counter_2.db", [counter(2)])
    damaged = write_ours(directory / "counter_3.db", counter(4))
    damaged.write_bytes(damaged.read_bytes()[:20])
    done = multiprom.compact()
    assert done == multiprom.Compaction(
        processes=1,
        files_folded=1,
        files_deleted=1,
        bytes_freed=2 << 16,
        left_alone=(multiprom.LeftAlone(str(damaged), done.left_alone[0].reason),),
        busy=False,
    )
    assert "damaged at byte 8: the file ends here" in done.left_alone[0].reason
    monkeypatch.setenv("MULTIPROM_DROP_ALL", "1")
    assert multiprom.compact(drop_all=False).files_deleted == 0
    assert multiprom.compact().files_deleted == 1
    assert (directory / "counter_2.db").exists()
    assert multiprom.compact(pids=["x/../2", "\ud800", 2]).files_folded == 1


def test_no_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR"):
        multiprom.compact()
    (tmp_path / "file").touch()
    for name in ("gone", "file"):
        with pytest.raises(ValueError, match=f"{name}' is not a directory"):
            multiprom.compact(tmp_path / name)
    monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
    assert multiprom.compact().files_folded == 0


def test_another_compaction_is_at_work(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1))
    with compacting(directory):
        assert multiprom.compact(timeout=0).busy
        kept = "another process compacts the directory"
        assert _core.remove_leftovers(str(directory), 0.0) == (0, kept)
    assert multiprom.compact().files_folded == 1


def test_a_held_file_is_never_folded(directory: Path) -> None:
    path = write_ours(directory / "counter_1.db", counter(1))
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert multiprom.compact().files_folded == 0
        done = multiprom.compact(pids=[1])
        assert done.left_alone == ((str(path), "a living process holds the file"),)
        removed = _core.remove_leftovers(str(directory), 0.0)
        assert removed == (0, f"{path}: a living process holds the file")
    assert _core.remove_leftovers(str(directory), 0.0) == (1, None)


def test_a_failing_system_call_is_told_with_its_number(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1))
    obstacle = directory / ".multiprom_counter.tmp"
    obstacle.mkdir()
    ((path, reason),) = multiprom.compact().left_alone
    assert path == str(obstacle)
    assert reason == f"[Errno {errno.EISDIR}] {os.strerror(errno.EISDIR)}"


def test_merge_of_a_list_heeds_its_archives(directory: Path) -> None:
    """As programs do that list the directory themselves; low halves and all."""
    for number in range(10):
        write_ours(directory / f"counter_{number}.db", counter(0.1))
        multiprom.compact()
    write_ours(directory / "counter_99.db", counter(0.3))
    files = sorted(map(str, directory.glob("*.db")))
    (metric,) = multiprom.MultiProcessCollector.merge(files, accumulate=True)
    assert [sample.value for sample in metric.samples] == [1.3]
    read = multiprom.MultiProcessCollector._read_metrics(files)
    assert [sample.value for sample in read["requests"].samples] == [0.3, 1.0]


@pytest.fixture
def files(directory: Path) -> list[Path]:
    """Give files of prometheus_client's, which say nothing of their process."""
    return [write(directory / f"counter_{pid}.db", [counter(1)]) for pid in (1, 2, 3)]


@pytest.mark.parametrize(
    "make",
    [list, tuple, set, iter, lambda pids: dict.fromkeys(map(str, pids)), lambda _: range(1, 3)],
    ids=["list", "tuple", "set", "iterator", "dict of str", "range"],
)
def test_any_iterable_of_pids(files: list[Path], make: Callable[[list[int]], Any]) -> None:
    assert multiprom.compact(pids=make([1, 2])).files_folded == 2
    assert [file.exists() for file in files] == [False, False, True]


@pytest.mark.parametrize("pids", ["123", b"123", ""])
def test_one_text_is_no_list_of_pids(files: list[Path], pids: Any) -> None:
    """Each character would be taken for a process, which may well live."""
    with pytest.raises(TypeError, match="pids must be several process identifiers, not one: "):
        multiprom.compact(pids=pids)
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("pid", [b"1", 1.0, None, True, ["1"]])
def test_what_names_no_process(files: list[Path], pid: Any) -> None:
    """It would match no file, and nothing would tell."""
    with pytest.raises(TypeError, match="a process identifier must be an int or a str, not: "):
        multiprom.compact(pids=[2, pid])
    assert all(file.exists() for file in files)


DESCRIPTORS = 40
DEAD = 200
FEW_DESCRIPTORS = """
import os, resource, sys
import multiprom
directory, limit, pids = sys.argv[1], int(sys.argv[2]), range(int(sys.argv[3]))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
done = multiprom.compact(directory, pids=pids)
assert done.left_alone == (), done.left_alone
print(done.files_folded, *sorted(os.listdir(directory)))
"""


def test_with_few_descriptors_all_is_folded_in_small_steps(tmp_path: Path) -> None:
    for pid in range(DEAD):
        write(tmp_path / f"counter_{pid}.db", [counter(1)])
    printed = run(FEW_DESCRIPTORS, tmp_path, str(DESCRIPTORS), str(DEAD))
    assert printed.split() == [str(DEAD), ".multiprom.lock", "counter_compacted.db"]


@pytest.fixture
def other_compaction(directory: Path) -> Iterator[Any]:
    """Let somebody else compact a directory with a file until the lock is given up."""
    write(directory / "counter_7.db", [counter(1)])
    with compacting(directory) as lock:
        yield lock


def test_it_waits_for_another_compaction(other_compaction: Any) -> None:
    """The other may be a sweep, which does not know who is named."""
    # Far longer than a hook would wait.
    timer = threading.Timer(0.5, fcntl.flock, (other_compaction, fcntl.LOCK_UN))
    timer.start()
    done = multiprom.compact(pids=[7])
    assert (done.files_folded, done.busy) == (1, False)
    timer.join()


@pytest.mark.parametrize("timeout", [0, 0.0, 0.2])
@pytest.mark.usefixtures("other_compaction")
def test_it_gives_up_waiting_in_the_end(timeout: float, directory: Path) -> None:
    begin = time.monotonic()
    assert multiprom.compact(pids=[7], timeout=timeout).busy
    assert time.monotonic() - begin >= timeout
    assert (directory / "counter_7.db").exists()


@pytest.mark.parametrize("timeout", [-1, -math.inf, math.nan])
def test_what_is_no_time_to_wait(timeout: float, directory: Path) -> None:
    path = write(directory / "counter_7.db", [counter(1)])
    with pytest.raises(ValueError, match="timeout must not be negative or NaN: "):
        multiprom.compact(pids=[7], timeout=timeout)
    assert path.exists()
    assert multiprom.compact(pids=[7], timeout=math.inf).files_folded == 1


@pytest.mark.usefixtures("other_compaction")
def test_signals_are_handled_while_it_waits() -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(InterruptedError):
            multiprom.compact(timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
