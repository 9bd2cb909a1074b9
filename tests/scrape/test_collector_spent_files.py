"""Code of the program's own that reads the files itself is not given what an archive has absorbed.

Between the new archive and the deletion of what went into it, both are there; after a compaction
that was killed, until the next.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support import stock
from support.files import counter, write_ours

if TYPE_CHECKING:
    from pathlib import Path


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


def total(collector_class: Any, directory: Path) -> list[float]:
    metrics = collector_class(None, directory).collect()
    return [sample.value for metric in metrics for sample in metric.samples]


def test_it_counts_once(directory: Path, spent: Path) -> None:
    assert total(stock.MultiProcessCollector, directory) == [2000.0]
    assert total(multiprom.MultiProcessCollector, directory) == [1000.0]
    assert total(OwnReader, directory) == [1000.0]
    assert spent.exists()


def test_a_file_that_is_folded_before_it_is_opened(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1000))

    class Beside(OwnReader):
        """Compacts before it reads for the first time."""

        @staticmethod
        def _read_metrics(files: Any) -> Any:
            multiprom.compact(directory)
            return OwnReader._read_metrics(files)

    assert total(Beside, directory) == [1000.0]


def test_another_error_is_raised(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(1000))

    class Failing(OwnReader):
        """Cannot read."""

        @staticmethod
        def _read_metrics(files: Any) -> Any:
            raise PermissionError(*files)

    with pytest.raises(PermissionError, match="counter_1"):
        total(Failing, directory)
