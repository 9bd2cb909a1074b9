"""How much of a disk metrics take: no more than twice what prometheus_client's files take.

Services keep the directory on a small tmpfs: `/dev/shm` of a container has 64 MiB. The files of
prometheus_client are sparse, so that only the pages that are written take room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.disks import run_with_disk
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

# One process for each identifier: all of its kinds, with so many series of each.
COUNT = """
import gc, os, sys
directory, processes, series, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
os.environ["MULTIPROM_COMPACTION"] = "off"
from prometheus_client import Counter, Gauge, Histogram, Summary, values
if name == "multiprom":
    import multiprom
    multiprom.install()
for number in range(processes):
    if os.fork() == 0:
        for kind in (Counter, Histogram, Summary):
            metric = kind(kind.__name__.lower(), "Help", ["n"], registry=None)
            for n in range(series):
                getattr(metric.labels(n), "inc" if kind is Counter else "observe")(1)
        for mode in ("all", "liveall", "sum", "livesum", "max", "mostrecent"):
            gauge = Gauge(f"g_{mode}", "Help", ["n"], registry=None, multiprocess_mode=mode)
            for n in range(series):
                gauge.labels(n).set(1)
        os.kill(os.getpid(), 9)
    os.wait()
files = [entry.path for entry in os.scandir(directory)]
print(sum(os.stat(file).st_blocks for file in files) * 512)
"""


@pytest.mark.parametrize(("processes", "series"), [(48, 1), (4, 50), (2, 1000)])
def test_blocks(processes: int, series: int, tmp_path: Path) -> None:
    taken = {}
    for name in ("stock", "multiprom"):
        directory = tmp_path / name
        directory.mkdir()
        taken[name] = int(run(COUNT, directory, str(processes), str(series), name))
    assert taken["multiprom"] <= 2 * taken["stock"], taken


def test_twenty_workers_on_a_disk_of_one_mebibyte(tmp_path: Path) -> None:
    script = """
import subprocess
small = disk.directory.parent / "small"
small.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(small)
for number in range(20):
    if os.fork() == 0:
        Counter("c", "Help").inc()
        Gauge("g", "Help", multiprocess_mode="sum").inc()
        Histogram("h", "Help").observe(1)
        os.kill(os.getpid(), 9)
    os.wait()
found = scrape()
print(found["c_total"], found["g"], found["h_count"], messages)
"""
    assert run_with_disk(script, tmp_path / "disk") == "20.0 20.0 20.0 []\n"
