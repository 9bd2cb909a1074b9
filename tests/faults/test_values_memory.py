"""A process at the limit of its memory: MemoryError where a series is made, and it lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("room", [1 << 18, 1 << 20, 3 << 20])
def test_no_memory_for_more_series(room: int, directory: Path) -> None:
    printed = run(
        """
        import gc, os, resource, sys
        import multiprom
        multiprom.install()
        from prometheus_client import values
        # That of Python without a GIL needs memory itself, and says so if there is none.
        gc.disable()

        def made(number):
            value = values.ValueClass("counter", "m", "m", ("l",), (str(number),), "Help")
            value.inc(number)
            return value

        kept = [None] * 200_000
        # So many that a table is large when it grows.
        kept[:50_000] = map(made, range(50_000))
        with open("/proc/self/statm") as sizes:
            reserved = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = reserved + int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        count, refused = 50_000, 0
        while refused < 1000 and count < len(kept):
            try:
                kept[count] = made(count)
            except MemoryError:
                refused += 1
            else:
                count += 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept[count] = made(count)
        multiprom.MultiProcessCollector(None).collect()
        print(refused, count + 1)
        """,
        str(room),
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    refused, count = map(int, printed.split())
    assert refused == 1000
    [file] = directory.glob("counter_*.db")
    found = values_of(file)
    # One that was refused where it should count is there, at 0.
    assert sum(found.values()) == sum(range(count))
