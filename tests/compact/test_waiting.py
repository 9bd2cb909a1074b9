"""compact() waits for another compaction: that may be a sweep, which does not know who is named."""

from __future__ import annotations

import fcntl
import math
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support.files import counter, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def compacting(directory: Path) -> Iterator[Any]:
    """Let somebody else compact the directory until the file is unlocked."""
    write(directory / "counter_7.db", [counter(1)])
    with (directory / ".multiprom.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_it_does_its_work_when_the_other_has_ended(compacting: Any) -> None:
    # Far longer than a hook would wait.
    timer = threading.Timer(0.5, fcntl.flock, (compacting, fcntl.LOCK_UN))
    timer.start()
    done = multiprom.compact(pids=[7])
    assert (done.files_folded, done.busy) == (1, False)
    timer.join()


@pytest.mark.parametrize("timeout", [0, 0.0, 0.2])
@pytest.mark.usefixtures("compacting")
def test_it_gives_up_in_the_end(timeout: float, directory: Path) -> None:
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


@pytest.mark.usefixtures("compacting")
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
