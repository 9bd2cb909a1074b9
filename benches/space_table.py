"""`make bench-space`: one table of the room on a disk that files take, with each library."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from count_contenders import MULTIPROM, STOCK
from machine import about, print_table

HEADER = ("processes", "series of each kind", STOCK, MULTIPROM, "this / stock")
# Processes that live at once, and the series of each kind that each of them counts.
SHAPES = ((1, 1), (48, 1), (48, 20), (8, 300), (2, 10_000))
COUNT = """
import os, signal, sys
directory, processes, series, library = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
from prometheus_client import Counter, Gauge, Histogram, Summary
if library == "multiprom":
    import multiprom
    multiprom.install()
pids = []
read, write = os.pipe()
for number in range(processes):
    pids.append(os.fork())
    if pids[-1] == 0:
        kinds = [Counter("counter", "Help", ["n"], registry=None)]
        for kind in (Histogram, Summary):
            kinds.append(kind(kind.__name__, "Help", ["n"], registry=None))
        for mode in ("all", "liveall", "sum", "livesum", "max", "mostrecent"):
            kinds.append(Gauge(mode, "Help", ["n"], registry=None, multiprocess_mode=mode))
        for n in range(series):
            for kind in kinds:
                value = kind.labels(n)
                act = getattr(value, "observe", None) or getattr(value, "set", None) or value.inc
                act(1)
        os.write(write, b"x")
        signal.pause()
done = b""
while len(done) < processes:
    done += os.read(read, processes)
print(sum(entry.stat().st_blocks for entry in os.scandir(directory)) * 512)
for pid in pids:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def main() -> None:
    """Let the processes count and print what their files take."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as parent:
        print(about(Path(parent), ("prometheus_client", MULTIPROM)))
        for processes, series in SHAPES:
            taken = {}
            for library in (STOCK, MULTIPROM):
                directory = tempfile.mkdtemp(dir=parent)
                numbers = (str(processes), str(series))
                command = [sys.executable, "-c", COUNT, directory, *numbers, library]
                taken[library] = int(subprocess.check_output(command, timeout=300))
            stock, ours = taken[STOCK], taken[MULTIPROM]
            rows.append(
                [str(processes), f"{series:,}", _size(stock), _size(ours), f"{ours / stock:.2f}"]
            )
    print_table(HEADER, rows)


def _size(size: int) -> str:
    """Return a size in KiB."""
    return f"{size / 1024:,.0f} KiB"


if __name__ == "__main__":
    main()
