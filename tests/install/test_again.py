"""install() after uninstall(), and into another directory than prometheus_client writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRAPE = """
import os, sys
import multiprom
from prometheus_client import Counter, Gauge, Histogram

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}
"""


def test_what_was_given_back_counts_once(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
histogram = Histogram("h", "Help", buckets=[1])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5); histogram.observe(0.1); gauge.set(3)
for number in range(3):
    multiprom.install(sys.argv[1])
    counter.inc(1)
    found = scrape()
    print(found["n_total"], found["h_sum"], found["g"])
    multiprom.uninstall()
    counter.inc(1)
print(counter._value.get())
"""
    printed = run(SCRAPE + script, directory)
    assert printed == "6.0 0.1 3.0\n8.0 0.1 3.0\n10.0 0.1 3.0\n11.0\n"


def test_from_the_directory_of_prometheus_client_to_another(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5); gauge.set(3)
multiprom.install(sys.argv[1])
counter.inc(1)
print(scrape())
"""
    first, second = directory / "first", directory / "second"
    first.mkdir()
    printed = run(SCRAPE + script, second, PROMETHEUS_MULTIPROC_DIR=first)
    assert printed == "{'n_total': 6.0, 'g': 3.0}\n"


def test_in_the_child_of_a_fork(directory: Path) -> None:
    """What uninstall() gave back is in the parent's file, and must not be in the child's too."""
    script = """
import os, sys
import multiprom
from prometheus_client import Counter
counter = Counter("n", "Help")
multiprom.install(sys.argv[1])
counter.inc(100)
multiprom.uninstall()
counter.inc(2)
if os.fork() == 0:
    multiprom.install(sys.argv[1])
    counter.inc(1)
    os._exit(0)
os.wait()
print(multiprom.generate_latest(multiprom.MultiProcessCollector(None, sys.argv[1])).decode())
"""
    # What was counted between is in memory, and so both processes' own.
    assert "n_total 103.0\n" in run(script, directory)


# What another one than the metric itself counts in its series after it was given back.
LATE = {
    "a method that was looked up before": "late(1)",
    "a metric of the same name": "other.inc(1)",
}


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["there", "elsewhere"])
@pytest.mark.parametrize("count", LATE.values(), ids=LATE)
def test_what_others_count_between(count: str, is_elsewhere: bool, directory: Path) -> None:
    script = f"""
from prometheus_client import CollectorRegistry
other = Counter("n", "Help", registry=None)
counter = Counter("n", "Help")
counter.inc(2); other.inc(3)
multiprom.install(sys.argv[1], also=[other])
late = counter._value.inc
multiprom.uninstall()
{count}
counter.inc(1)
multiprom.install(sys.argv[1] + "/elsewhere" * {is_elsewhere}, also=[other])
counter.inc(1)
print(scrape()["n_total"], counter._value.get(), other._value.get())
"""
    # Elsewhere what was counted in the old files alone stays there.
    is_late = count == LATE["a method that was looked up before"]
    total = 7.0 if is_elsewhere and is_late else 8.0
    assert run(SCRAPE + script, directory) == f"{total} {total} {total}\n"


def test_where_files_were_removed_between(directory: Path) -> None:
    script = """
from support.warned import messages
counter = Counter("n", "Help")
counter.inc(5)
multiprom.install(sys.argv[1])
multiprom.uninstall()
counter.inc(1)
for name in [name for name in os.listdir(sys.argv[1]) if name[0] != "."]:
    os.unlink(os.path.join(sys.argv[1], name))
multiprom.install(sys.argv[1])
counter.inc(1)
print(scrape()["n_total"], counter._value.get(), len(messages))
"""
    # They are written anew, as any that are removed, with one warning.
    assert run(SCRAPE + script, directory) == "7.0 7.0 1\n"
