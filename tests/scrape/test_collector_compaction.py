"""Beside compaction, code of a program's own that merges or reads files counts each value once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom import _core
from prometheus_client import CollectorRegistry
from support import stock
from support.files import counter, write_ours
from support.locks import compacting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric


class Collector(multiprom.MultiProcessCollector):
    """Calls `meanwhile` each time between the listing and the merging."""

    meanwhile: Callable[[], object]
    rounds = 0

    def merge(self, files: Iterable[Any], accumulate: bool = True) -> list[Metric]:  # type: ignore[override]
        self.rounds += 1
        self.meanwhile()
        return super().merge(files, accumulate)


class Lazy(Collector):
    """Reads when it is asked for the results."""

    def merge(self, files: Iterable[Any], accumulate: bool = True) -> Iterator[Metric]:  # type: ignore[override]
        yield from super().merge(files, accumulate)


class InHalves(multiprom.MultiProcessCollector):
    """Overrides one half of merge()."""

    meanwhile: Callable[[], object]
    rounds = 0

    def _read_metrics(self, files: Iterable[Any]) -> Any:  # type: ignore[override]
        self.rounds += 1
        self.meanwhile()
        return super()._read_metrics(files)


@pytest.fixture(params=[Collector, Lazy, InHalves])
def collector(request: pytest.FixtureRequest, directory: Path) -> Any:
    write_ours(directory / "counter_1.db", counter(1000))
    return request.param(None, directory)


def total(collector: Any) -> float:
    values: list[float] = [s.value for metric in collector.collect() for s in metric.samples]
    return sum(values)


def one_more(directory: Path) -> None:
    """Let one more process count, die, and be folded."""
    write_ours(directory / "counter_2.db", counter(1))
    multiprom.compact(directory, timeout=0)


def test_the_first_archive_appears(collector: Any, directory: Path) -> None:
    collector.meanwhile = lambda: multiprom.compact(directory)
    assert total(collector) == 1000
    assert total(collector) == 1000
    # Once more, and not again where nothing changes.
    assert collector.rounds == 3


def test_an_archive_is_replaced(collector: Any, directory: Path) -> None:
    multiprom.compact(directory)
    write_ours(directory / "counter_2.db", counter(1))
    collector.meanwhile = lambda: multiprom.compact(directory)
    assert total(collector) == 1001
    assert collector.rounds == 2


def test_it_ends_also_where_compaction_does_not(collector: Any, directory: Path) -> None:
    """In the last round nobody else can compact."""
    collector.meanwhile = lambda: one_more(directory)
    seen = total(collector)
    assert collector.rounds < 10
    assert 1000 <= seen <= 1000 + collector.rounds
    collector.meanwhile = lambda: None
    assert total(collector) == 1000 + collector.rounds - 1
    assert multiprom.compact(directory, timeout=0).busy is False


def test_a_scrape_fails_that_would_be_wrong(collector: Any, directory: Path) -> None:
    """Such as beside one compaction that goes on and on."""
    multiprom.compact(directory)
    archive = directory / "counter_compacted.db"
    copy = directory / "copy"

    def replace() -> None:
        copy.write_bytes(archive.read_bytes())
        copy.rename(archive)

    collector.meanwhile = replace
    with (
        compacting(directory),
        pytest.raises(TimeoutError, match="compaction never paused for a reading"),
    ):
        _core.read_consistently(
            str(directory), lambda files, _: collector._merge_as_overridden(files), timeout=0.0
        )
    # Three times at once, and once after it has waited for the lock.
    assert collector.rounds == 4
    assert total(collector) == 1000


def descriptors_of(path: Path) -> list[int]:
    """Return the descriptors under which this process has a file open."""
    found = []
    for descriptor in list(Path("/dev/fd").iterdir()):
        with contextlib.suppress(OSError):
            if os.fstat(int(descriptor.name)).st_ino == path.stat().st_ino:
                found.append(int(descriptor.name))
    return found


def test_a_child_does_not_keep_the_lock(collector: Any, directory: Path) -> None:
    """Forked while the last round holds it, such as by another thread: the parent may be killed."""
    multiprom.compact(directory)
    was_locked: list[bool] = []

    def fork_under_the_lock() -> None:
        one_more(directory)
        if not multiprom.compact(directory, timeout=0).busy:
            return
        was_locked.append(True)
        assert descriptors_of(directory / ".multiprom.lock")
        pid = os.fork()
        if pid == 0:
            os._exit(len(descriptors_of(directory / ".multiprom.lock")))
        assert os.waitpid(pid, 0)[1] == 0

    collector.meanwhile = fork_under_the_lock
    collector.collect()
    assert was_locked == [True]


def test_a_child_that_leaves_the_merge_closes_nothing_of_its_own(
    collector: Any, directory: Path
) -> None:
    """The lock's descriptor is closed in it already: by now its number may be another file's."""
    multiprom.compact(directory)
    parent = os.getpid()
    own: list[int] = []

    def fork_under_the_lock() -> None:
        one_more(directory)
        locks = descriptors_of(directory / ".multiprom.lock")
        if locks and not own:
            own.append(os.fork())
            if own[0] == 0:
                own[:] = [os.open(os.devnull, os.O_RDONLY) for _ in range(max(locks) + 1)]
                assert set(locks) <= set(own)
                raise ZeroDivisionError

    collector.meanwhile = fork_under_the_lock
    try:
        collector.collect()
    except ZeroDivisionError:
        for descriptor in own:
            os.fstat(descriptor)
        os._exit(0)
    finally:
        if os.getpid() != parent:
            os._exit(1)
    assert os.waitpid(own[0], 0)[1] == 0


def test_text_is_made_of_the_same(collector: Any, directory: Path) -> None:
    collector.meanwhile = lambda: multiprom.compact(directory)
    registry = CollectorRegistry()
    registry.register(collector)
    assert b"\nrequests_total 1000.0\n" in multiprom.generate_latest(registry)


# Code of the program's own that reads the files itself is not given what an archive has absorbed.
#
# Between the new archive and the deletion of what went into it, both are there; after a compaction
# that was killed, until the next.


class OwnReader(multiprom.MultiProcessCollector):
    """Reads each file by itself, as prometheus_client does."""

    @staticmethod
    def _read_metrics(files: Any) -> Any:
        return stock.MultiProcessCollector._read_metrics(files)


@pytest.fixture
def spent(directory: Path) -> Path:
    """Return a file whose content is in an archive, but which is still there."""
    path = write_ours(directory / "counter_1.db", counter(1000))
    # Changed just now, so that compaction waits before it deletes it.
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            os.utime(path)
            multiprom.compact(directory)
            os._exit(0)
        while not (directory / "counter_compacted.db").exists():
            time.sleep(0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if path.exists():
            return path
        (directory / "counter_compacted.db").unlink()
        write_ours(path, counter(1000))
    pytest.fail("no compaction could be killed in that moment")


def shown(collector_class: Any, directory: Path) -> list[float]:
    metrics = collector_class(None, directory).collect()
    return [sample.value for metric in metrics for sample in metric.samples]


def test_it_counts_once(directory: Path, spent: Path) -> None:
    assert shown(stock.MultiProcessCollector, directory) == [2000.0]
    assert shown(multiprom.MultiProcessCollector, directory) == [1000.0]
    assert shown(OwnReader, directory) == [1000.0]
    assert spent.exists()


def test_a_file_that_is_folded_before_it_is_opened(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1000))

    class Beside(OwnReader):
        """Compacts before it reads for the first time."""

        @staticmethod
        def _read_metrics(files: Any) -> Any:
            multiprom.compact(directory)
            return OwnReader._read_metrics(files)

    assert shown(Beside, directory) == [1000.0]


def test_another_error_is_raised(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1000))

    class Failing(OwnReader):
        """Cannot read."""

        @staticmethod
        def _read_metrics(files: Any) -> Any:
            raise PermissionError(*files)

    with pytest.raises(PermissionError, match="counter_1"):
        shown(Failing, directory)
