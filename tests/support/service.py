"""A directory as a service leaves it: living and dead processes, an archive, damage and strays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
from support.files import Entry, counter, write, write_ours
from support.interpreters import another

if TYPE_CHECKING:
    import subprocess
    from contextlib import AbstractContextManager
    from pathlib import Path

LIVING = """
import os, sys
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
requests = Counter("requests", "Help", ["path"], registry=None)
for path in "abc":
    requests.labels(path).inc(100)
Gauge("busy", "Help", multiprocess_mode="livesum", registry=None).set(1)
print(os.getpid(), flush=True)
for line in sys.stdin:
    if line == "count\\n":
        requests.labels("a").inc(1000)
        print("counted", flush=True)
    else:
        break
"""


def living(directory: Path) -> AbstractContextManager[tuple[subprocess.Popen[str], int]]:
    """Let a process live and count in the directory; give it and its pid."""
    return another(directory, LIVING)


def leave_dead(directory: Path, *identifiers: object) -> None:
    """Leave the files of dead processes."""
    for identifier in identifiers:
        entries = [counter(1, path="a"), counter(2, path="b")]
        write_ours(directory / f"counter_{identifier}.db", *entries)
        write_ours(directory / f"gauge_livesum_{identifier}.db", Entry("busy", "busy", value=1))


def leave_all(directory: Path) -> None:
    """Leave an archive, the dead, files of prometheus_client, damage and a file of nobody."""
    leave_dead(directory, "old")
    multiprom.compact(directory)
    leave_dead(directory, "dead-1", "dead-2")
    write(directory / "counter_stock.db", [counter(1, path="a")])
    damaged = write_ours(directory / "counter_damaged.db", counter(1, path="a"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    write_ours(directory / "gauge_all_dead-1.db", Entry("free", "free", value=1))
    (directory / "cache.db").write_bytes(b"SQLite format 3\0")
