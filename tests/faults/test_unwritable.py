"""Where nothing can be written, a scrape of the counting process has its own counts still."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.disks import run_with_disk
from support.interpreters import command, environment

if TYPE_CHECKING:
    from pathlib import Path

COUNT = """
counter = Counter("c", "Help", ["l"])
counter.labels("x").inc(3)
histogram = Histogram("h", "Help", buckets=[1])
histogram.observe(0.5)
gauges = {}
for mode in ("all", "liveall", "sum", "livesum", "min", "max", "mostrecent"):
    gauges[mode] = Gauge(f"g_{mode}", "Help", multiprocess_mode=mode)
    gauges[mode].set(4)
"""
CHECK = """
found = scrape()
assert found["c_total"] == 3 and found["h_count"] == 1 and found["h_bucket"] == 1, found
assert all(found[f"g_{mode}"] == 4 for mode in gauges), found
from prometheus_client import CollectorRegistry, generate_latest
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry)
assert 'c_total{l="x"} 3.0' in generate_latest(registry).decode()
"""


def test_full(tmp_path: Path) -> None:
    after = """
print(len(messages))
disk.free()
counter.labels("x").inc(1)
until(lambda: scrape()["c_total"] == 4)
assert sum(written("counter_*.db").values()) == 4
"""
    assert run_with_disk("disk.fill()\n" + COUNT + CHECK + after, tmp_path / "disk") == "1\n"


@pytest.mark.parametrize("mode", [0o555, 0o755])
def test_not_writable(mode: int, directory: Path) -> None:
    """A directory of root's, and a process of somebody without rights."""
    beginning = """
import os
from support.warned import messages
import multiprom
multiprom.install()
import prometheus_client.multiprocess
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
from prometheus_client import Counter, Gauge, Histogram

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}
"""
    for parent in directory.parents:
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    directory.chmod(mode if os.getuid() == 0 else 0o555)
    done = subprocess.run(
        command(beginning + COUNT + CHECK + "print(len(messages))"),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    directory.chmod(0o755)
    assert (done.stdout, done.stderr) == ("1\n", "")
