"""A file system on which files can be made, but not mapped, locked or allocated (fault 12)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNT = """
import mmap, os, sys
from support.refusing_kernel import refuse
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
multiprom.MultiProcessCollector(None).collect()

refuse(sys.argv[1], int(sys.argv[2]))
counter = Counter("n", "Help", registry=None)
counter.inc(2)
Gauge("g", "Help", multiprocess_mode="sum", registry=None).set(3)
Histogram("h", "Help", registry=None).observe(1)
counter.inc()
multiprom.MultiProcessCollector(None).collect()
print(counter._value.get(), len(messages), *messages)
"""


@pytest.mark.parametrize(
    ("call", "code"),
    [("mmap", errno.ENODEV), ("mmap", errno.EPERM), ("flock", errno.ENOLCK)],
)
def test_counts_in_memory(call: str, code: int, directory: Path) -> None:
    printed = run(COUNT, call, str(code), PROMETHEUS_MULTIPROC_DIR=directory)
    value, warnings, message = printed.split(maxsplit=2)
    assert (value, warnings) == ("3.0", "1")
    assert message.startswith(f'cannot write metrics to "{directory}/counter_')
    # prometheus_client could not read an empty one.
    assert list(directory.glob("*.db")) == []


def test_blocks_are_allocated_by_writing_to_them(directory: Path) -> None:
    """As the C library does it, where the file system cannot."""
    code = str(errno.EOPNOTSUPP)
    printed = run(COUNT, "fallocate", code, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "3.0 0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 3.0}
    assert file.stat().st_blocks * 512 >= file.stat().st_size
