"""A directory goes away and comes back: renamed, unmounted, or a link to it is switched.

The process that counts writes its files anew meanwhile, with all that they held. The old files are
still there, and no lock is held on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, subprocess, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
place, away, back, compacts = sys.argv[1:]
link = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("c", "Help", ["l"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.labels("a").inc(10)
gauge.set(10)

def scrape():
    found = {}
    for metric in multiprom.MultiProcessCollector(None).collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return found

def run(script):
    subprocess.run(["sh", "-ec", script], cwd=place, check=True)

assert scrape() == {"c_total": 10, "g": 10}
run(away)
counter.labels("b").inc(0)
assert scrape() == {"c_total": 10, "g": 10}, scrape()
run(back)
if compacts:
    subprocess.run([sys.executable, "-c", "import multiprom; multiprom.compact()"], check=True)
counter.labels("c").inc(0)
assert scrape() == {"c_total": 10, "g": 10}, scrape()
if compacts:
    subprocess.run([sys.executable, "-c", "import multiprom; multiprom.compact()"], check=True)
counter.labels("c").inc(1)
assert scrape() == {"c_total": 11, "g": 10}, scrape()
print("once")
"""

WAYS = {
    "a link is switched": ("ln -sfn second link", "ln -sfn first link"),
    "renamed": ("mv first third; mkdir first", "rm -rf first; mv third first"),
}


@pytest.mark.parametrize("compacts", ["", "1"])
@pytest.mark.parametrize(("away", "back"), WAYS.values(), ids=WAYS)
def test_each_count_once(away: str, back: str, compacts: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("first")
    arguments = (tmp_path, away, back, compacts)
    assert run(SCRIPT, *arguments, PROMETHEUS_MULTIPROC_DIR=tmp_path / "link") == "once\n"
