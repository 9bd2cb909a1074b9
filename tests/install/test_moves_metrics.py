"""install() gives metrics that exist already values in shared files, which start with their counts.

So it no longer matters what was imported, and counted, before the directory was known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support.equality import samples
from support.files import MAGIC, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

EXISTING = """
import os, sys
from prometheus_client import (
    CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, values)
import multiprom

directory = sys.argv[1]
assert values.ValueClass is values.MutexValue
counter = Counter("n", "Help")
labelled = Counter("l", "Help", ["label"])
gauges = {mode: Gauge(mode, "Help", multiprocess_mode=mode)
          for mode in ("all", "liveall", "livesum", "max", "mostrecent")}
histogram = Histogram("h", "Help", ["label"], buckets=[1, 2])
summary = Summary("s", "Help")
counter.inc(5)
child = labelled.labels("a")
child.inc(5)
labelled.labels("untouched")
for gauge in gauges.values():
    gauge.set(5)
for seconds in (0.5, 1.5, 9):
    histogram.labels("a").observe(seconds)
summary.observe(4)

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {" ".join([s.name, *(v for n, v in s.labels.items() if n != "pid")]): s.value
            for metric in collector.collect() for s in metric.samples}
"""

FIVES = {
    "n_total": 5.0,
    "l_total a": 5.0,
    "l_total untouched": 0.0,
    "all": 5.0,
    "liveall": 5.0,
    "livesum": 5.0,
    "max": 5.0,
    "mostrecent": 5.0,
    "h_bucket a 1.0": 1.0,
    "h_bucket a 2.0": 2.0,
    "h_bucket a +Inf": 3.0,
    "h_count a": 3.0,
    "h_sum a": 11.0,
    "s_count": 1.0,
    "s_sum": 4.0,
}

# The ways of telling the directory.
INSTALLS = {
    "a path": "multiprom.install(directory)",
    "a path object": "import pathlib; multiprom.install(path=pathlib.Path(directory))",
    "the variable": "os.environ['PROMETHEUS_MULTIPROC_DIR'] = directory; multiprom.install()",
    "the path, twice": "multiprom.install(directory); multiprom.install(directory)",
    "the path, later": "multiprom.install(); multiprom.install(directory); multiprom.install()",
}


@pytest.mark.parametrize("install", INSTALLS.values(), ids=INSTALLS)
def test_they_start_with_what_they_had_counted(install: str, directory: Path) -> None:
    script = f"""
{install}
print(os.environ["PROMETHEUS_MULTIPROC_DIR"] == directory)
print(counter._value._multiprocess, values.ValueClass._multiprocess)
print(scrape())
"""
    first, second, *rest = run(EXISTING + script, directory).splitlines()
    assert (first, second) == ("True", "True True")
    assert eval(rest[0]) == FIVES
    for file in directory.glob("*.db"):
        assert magic(file) == MAGIC


def test_they_count_on(directory: Path) -> None:
    script = """
multiprom.install(directory)
counter.inc(1)
labelled.labels("a").inc(1)
child.inc(1)
labelled.labels("new").inc(1)
for mode, gauge in gauges.items():
    if mode != "mostrecent":
        gauge.inc(2)
        gauge.dec(1)
gauges["mostrecent"].set(6)
histogram.labels("a").observe(1.5)
summary.observe(1)
Counter("late", "Help").inc(1)
print(counter._value.get(), child._value.get(), summary._sum.get(), summary._count.get())
print(scrape())
"""
    got, found = run(EXISTING + script, directory).splitlines()
    assert got == "6.0 7.0 5.0 2.0"
    assert eval(found) == FIVES | {
        "n_total": 6.0,
        "l_total a": 7.0,
        "l_total new": 1.0,
        "late_total": 1.0,
        **dict.fromkeys(("all", "liveall", "livesum", "max", "mostrecent"), 6.0),
        "h_bucket a 2.0": 3.0,
        "h_bucket a +Inf": 4.0,
        "h_count a": 4.0,
        "h_sum a": 12.5,
        "s_count": 2.0,
        "s_sum": 5.0,
    }


def test_who_holds_an_old_value_counts_in_the_new_one(directory: Path) -> None:
    script = """
old = [counter._value, child._value, gauges["max"]._value, summary._sum,
       *histogram.labels("a")._buckets]
multiprom.install(directory)
for value in old[:3]:
    value.inc(1)
old[2].set(7)
old[3].inc(10)
old[4].inc(10)
print([value.get() for value in old])
print(counter._value.get(), child._value.get(), gauges["max"]._value.get(), summary._sum.get())
found = scrape()
print([found[name] for name in ("n_total", "l_total a", "max", "s_sum", "h_bucket a 1.0")])
counter.inc(1)
print(old[0].get())
"""
    assert run(EXISTING + script, directory).splitlines() == [
        "[6.0, 6.0, 7.0, 14.0, 11.0, 1.0, 1.0]",
        "6.0 6.0 7.0 14.0",
        "[6.0, 6.0, 7.0, 14.0, 11.0]",
        "7.0",
    ]


def test_other_registries_and_metrics_on_request(directory: Path) -> None:
    script = """
registry, untold = CollectorRegistry(), CollectorRegistry()
metrics = [Counter(name, "Help", registry=place)
           for name, place in (("registered", registry), ("alone", None), ("untold", untold))]
family = Gauge("family", "Help", ["label"], registry=None, multiprocess_mode="sum")
family.labels("a").set(5)
for metric in metrics:
    metric.inc(5)
multiprom.install(directory, also=[registry, metrics[1], family])
for metric in (*metrics, family.labels("a")):
    metric.inc(1)
found = scrape()
print([found.get(name) for name in
       ("registered_total", "alone_total", "untold_total", "family a", "n_total")])
print([metric._value.get() for metric in metrics])
# More of them, later.
multiprom.install(also=(place for place in [untold]))
found = scrape()
print([found.get(name) for name in ("registered_total", "alone_total", "untold_total", "n_total")])
"""
    assert run(EXISTING + script, directory).splitlines() == [
        "[6.0, 6.0, None, 6.0, 5.0]",
        "[6.0, 6.0, 6.0]",
        "[6.0, 6.0, 6.0, 5.0]",
    ]


def test_metrics_that_have_no_shared_values_stay_as_they_are(directory: Path) -> None:
    """Info and Enum are not for multiprocess mode, and there are collectors of other kinds."""
    script = """
from prometheus_client import REGISTRY, generate_latest
Info("build", "Help").info({"version": "1"})
Enum("state", "Help", states=["up", "down"]).state("down")
gauges["all"].set_function(lambda: 17)

class Own:
    def collect(self):
        return []

REGISTRY.register(Own())
multiprom.install(directory)
text = generate_latest(REGISTRY).decode().splitlines()
for line in ('build_info{version="1"} 1.0', 'state{state="down"} 1.0', "n_total 5.0", "all 17.0"):
    assert line in text, (line, text)
print(scrape()["n_total"])
"""
    assert run(EXISTING + script, directory) == "5.0\n"


def test_the_directory_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    script = "multiprom.install(directory); print(scrape()['n_total'])"
    assert run(EXISTING + script, directory) == "5.0\n"
    assert directory.is_dir()


def test_without_a_directory_nothing_moves() -> None:
    script = """
multiprom.install()
counter.inc(1)
print(counter._value.get(), type(counter._value) is values.MutexValue)
print("PROMETHEUS_MULTIPROC_DIR" in os.environ)
"""
    assert run(EXISTING + script, "none") == "6.0 True\nFalse\n"


def test_a_fork_counts_nothing_twice(directory: Path) -> None:
    """What was counted before is the parent's; in the child all series are there, at zero."""
    script = """
multiprom.install(directory)
old = counter._value
children = []
for _ in range(2):
    children.append(os.fork())
    if children[-1] == 0:
        counter.inc(1)
        old.inc(1)
        summary.observe(1)
        os._exit(0)
    assert os.waitpid(children[-1], 0)[1] == 0
found = scrape()
print([found[name] for name in ("n_total", "l_total a", "s_count", "h_count a", "livesum")])
print(*children)
"""
    found, pids = run(EXISTING + script, directory).splitlines()
    assert found == "[9.0, 5.0, 3.0, 3.0, 5.0]"
    for pid in pids.split():
        assert values_of(directory / f"counter_{pid}.db") == {
            "n_total": 2.0,
            "l_total a": 0.0,
            "l_total untouched": 0.0,
        }


def test_install_after_a_fork(directory: Path) -> None:
    """In a worker's own start hook: what the master had counted comes along with each worker."""
    script = """
for _ in range(2):
    if os.fork() == 0:
        multiprom.install(directory)
        counter.inc(1)
        os._exit(0)
    assert os.wait()[1] == 0
multiprom.install(directory)
print(scrape()["n_total"])
"""
    assert run(EXISTING + script, directory) == "17.0\n"


def test_the_scrape_of_the_whole(directory: Path) -> None:
    """The same as if the variable had been set in time, but for what is written at what time."""
    script = """
multiprom.install(directory)
print(sum(name.startswith("live") for name in scrape()))
"""
    assert run(EXISTING + script, directory) == "2\n"
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert not any(name.startswith("live") for name, _ in found), "their process has ended"
    assert found["mostrecent", ()] == 5.0
