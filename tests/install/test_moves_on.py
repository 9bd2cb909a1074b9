"""install() with another directory moves on, with all that was counted; the old files stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

INSTALLED = """
import os, sys
import multiprom
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
first, second = sys.argv[1:3]
counter = Counter("n", "Help", ["label"])
before = counter.labels("a")
before.inc(5)
multiprom.install(first)
after = counter.labels("b")
after.inc(3)
own = Counter("own", "Help", registry=CollectorRegistry())
own.inc(2)
live = Gauge("live", "Help", multiprocess_mode="livesum")
live.set(7)
recent = Gauge("recent", "Help", multiprocess_mode="mostrecent")
recent.set(8)
histogram = Histogram("h", "Help", buckets=[1])
histogram.observe(0.5)

def scrape(directory=None):
    collector = multiprom.MultiProcessCollector(None, directory)
    return {" ".join([s.name, *s.labels.values()]): s.value
            for metric in collector.collect() for s in metric.samples}
"""
TOTALS = {
    "n_total a": 5.0,
    "n_total b": 3.0,
    "own_total": 2.0,
    "live": 7.0,
    "recent": 8.0,
    "h_bucket 1.0": 1.0,
    "h_bucket +Inf": 1.0,
    "h_count": 1.0,
    "h_sum": 0.5,
}


def test_totals_move_on(directory: Path) -> None:
    script = """
multiprom.install(second)
print(scrape())
for metric in (before, after, own, live):
    metric.inc(1)
Counter("late", "Help").inc(1)
found = scrape()
print(*[found[name] for name in ("n_total a", "n_total b", "own_total", "live", "late_total")])
print(before._value.get(), after._value.get(), own._value.get(), live._value.get())
multiprom.install(second)
print(scrape() == found)
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    first, *rest = printed.splitlines()
    assert eval(first) == TOTALS
    assert rest == [
        "6.0 4.0 3.0 8.0 1.0",
        "6.0 4.0 3.0 8.0",
        "True",
    ]
    [file] = (directory / "first").glob("counter_*.db")
    assert values_of(file) == {"n_total a": 5.0, "n_total b": 3.0, "own_total": 2.0}


def test_by_the_variable(directory: Path) -> None:
    script = """
os.makedirs(second)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = second
multiprom.install()
print(scrape())
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert eval(printed) == TOTALS


def test_the_same_one_by_another_name(directory: Path) -> None:
    (directory / "second").symlink_to(directory / "first")
    script = """
multiprom.install(second)
multiprom.install(os.path.join(first, "..", "first"))
before.inc(1)
found = scrape()
print(found["n_total a"], found["n_total b"])
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert printed == "6.0 3.0\n"
    assert len([*(directory / "first").glob("*.db")]) == 4


def test_there_and_back(directory: Path) -> None:
    script = """
multiprom.install(second)
before.inc(1)
multiprom.install(first)
before.inc(1)
found = scrape()
print(found["n_total a"], found["n_total b"], found["own_total"])
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert printed == "7.0 3.0 2.0\n"


def test_a_fork_counts_nothing_twice(directory: Path) -> None:
    script = """
multiprom.install(second)
if os.fork() == 0:
    before.inc(1)
    os._exit(0)
assert os.wait()[1] == 0
found = scrape()
print(found["n_total a"], found["n_total b"])
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert printed == "6.0 3.0\n"


def test_one_that_cannot_be_written(directory: Path) -> None:
    """Values go on in the files that they have, with a warning."""
    (directory / "second").touch()
    script = """
from support.warned import messages
os.environ["PROMETHEUS_MULTIPROC_DIR"] = second
multiprom.install()
before.inc(1)
found = scrape(first)
print(found["n_total a"], found["n_total b"], len(messages))
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert printed == "6.0 3.0 1\n"
