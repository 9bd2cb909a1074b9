"""Counting makes no system call: the kernel kills who makes one, and the counts are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNT = {
    "Counter.inc": 'Counter("n", "Help").inc',
    "Gauge.set": 'functools.partial(Gauge("n", "Help", multiprocess_mode="sum").set, 5)',
    "Histogram.observe": 'functools.partial(Histogram("n", "Help").observe, 0.3)',
    "Summary.observe": 'functools.partial(Summary("n", "Help").observe, 0.3)',
    "a value's get": 'Counter("n", "Help")._value.get',
    # That the kernel looks.
    "os.getppid": "os.getppid",
}


@pytest.mark.parametrize("call", COUNT)
def test_of(call: str, directory: Path) -> None:
    printed = run(
        f"""
        import ctypes, functools, os, signal
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Gauge, Histogram, Summary

        PR_SET_SECCOMP, STRICT = 22, 1
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            count = {COUNT[call]}
            for _ in range(10_000):
                count()
            # From here on only read, write and the end of a thread are allowed.
            assert prctl(PR_SET_SECCOMP, STRICT) == 0, os.strerror(ctypes.get_errno())
            for _ in range(10_000):
                count()
            os.write(writing, b"counted")
            os._exit(0)
        os.close(writing)
        reported = os.read(reading, 100).decode()
        # Ending the process is not allowed either.
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        print(reported)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed.strip() == ("" if call == "os.getppid" else "counted")
