"""install() with another directory moves on, with all that was counted; nothing stays behind."""

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
    assert [*(directory / "first").glob("*.db")] == []
    [file] = (directory / "second").glob("counter_*.db")
    assert values_of(file) == {
        "n_total a": 6.0,
        "n_total b": 4.0,
        "own_total": 3.0,
        "late_total": 1.0,
    }


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


def test_back_after_a_compaction(directory: Path) -> None:
    """What has moved along is not folded where it was."""
    script = """
multiprom.install(second)
scrape(first)
multiprom.compact(first)
multiprom.install(first)
print(scrape() | scrape(second))
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    assert eval(printed) == TOTALS


def test_what_an_earlier_process_of_the_same_pid_has_counted(directory: Path) -> None:
    """It is added to."""
    script = """
from prometheus_client.mmap_dict import MmapedDict, mmap_key
os.makedirs(second)
for kind, name, sample, value, time in [
    ("counter", "own", "own_total", 10, 0),
    ("histogram", "h", "h_sum", 0.25, 0),
    ("gauge_mostrecent", "recent", "recent", 9, 1e12),
]:
    dead = MmapedDict(f"{second}/{kind}_{os.getpid()}.db")
    dead.write_value(mmap_key(name, sample, (), (), "Help"), value, time)
    dead.close()
multiprom.install(second)
print(scrape())
own.inc(1)
print(scrape()["own_total"], own._value.get(), [n for n in os.listdir(first) if n.endswith(".db")])
"""
    printed = run(INSTALLED + script, directory / "first", directory / "second")
    moved, then = printed.splitlines()
    assert eval(moved) == TOTALS | {"own_total": 12.0, "h_sum": 0.75, "recent": 9.0}
    assert then == "13.0 13.0 []"


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
