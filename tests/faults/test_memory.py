"""A corrupt file must not make a scrape take memory without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.files import HEADER, LENGTH, USED, counter, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

KEY_LENGTH = 16 << 20
KEYS = 60


def test_long_keys_of_zeros(directory: Path) -> None:
    """A sparse file of a gigabyte, in which every entry has another long key that is none."""
    write(directory / "counter_1.db", [counter(1)])
    size = LENGTH.size + KEY_LENGTH + 8 - (LENGTH.size + KEY_LENGTH) % 8 + 16
    with (directory / "counter_2.db").open("wb") as file:
        file.write(USED.pack(HEADER + KEYS * size))
        for number in range(KEYS):
            file.seek(HEADER + number * size)
            file.write(LENGTH.pack(KEY_LENGTH) + b"%d" % number)
        file.truncate(HEADER + KEYS * size)
    printed = run(
        """
        import os, resource, sys
        import multiprom

        collector = multiprom.MultiProcessCollector(None, sys.argv[1])
        # A Python without a GIL has reserved a gigabyte for its own objects.
        with open("/proc/self/statm") as sizes:
            reserved = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = reserved + (1 << 29)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        import logging
        logging.disable()
        (metric,) = collector.collect()
        print(metric.samples[0].value, *[item.entries for item in multiprom.left_out()])
        """,
        directory,
    )
    assert printed.split() == ["1.0", str(KEYS)]
