"""uninstall() gives metrics that were moved their private values back, with what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

MOVED = """
import os, sys
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, REGISTRY, values
import multiprom

directory = sys.argv[1]
registry = CollectorRegistry()
counter = Counter("n", "Help", ["label"])
child = counter.labels("a")
gauge = Gauge("g", "Help", multiprocess_mode="livesum")
histogram = Histogram("h", "Help", buckets=[1])
elsewhere = Counter("elsewhere", "Help", registry=registry)
metrics = [child, gauge, elsewhere]
held = [metric._value for metric in metrics]
for metric in metrics:
    metric.inc(5)
histogram.observe(0.5)

def content():
    import pathlib
    return {file.name: file.read_bytes() for file in pathlib.Path(directory).glob("*.db")}
"""


def test_what_they_hold_is_private_again(directory: Path) -> None:
    script = """
multiprom.install(directory, also=[registry])
for metric in metrics:
    metric.inc(1)
histogram.observe(3)
before = content()
multiprom.uninstall()
print("PROMETHEUS_MULTIPROC_DIR" in os.environ, values.ValueClass is values.MutexValue)
print([type(metric._value) is values.MutexValue for metric in metrics])
print([metric._value.get() for metric in metrics], [b.get() for b in histogram._buckets])
for metric in metrics:
    metric.inc(1)
for value in held:
    value.inc(1)
histogram.observe(3)
counter.labels("new").inc(1)
print([metric._value.get() for metric in metrics], [b.get() for b in histogram._buckets])
print([value.get() for value in held])
print(REGISTRY.get_sample_value("n_total", {"label": "a"}), REGISTRY.get_sample_value("h_sum"))
# The files have what they had, for others to scrape.
print(content() == before)
"""
    assert run(MOVED + script, directory).splitlines() == [
        "False True",
        "[True, True, True]",
        "[6.0, 6.0, 6.0] [1.0, 1.0]",
        "[8.0, 8.0, 8.0] [1.0, 2.0]",
        "[8.0, 8.0, 8.0]",
        "8.0 6.5",
        "True",
    ]


def test_there_and_back_again(directory: Path) -> None:
    """Each time into a directory of its own, as tests do it: the counts are the process's."""
    script = """
import pathlib
for number in range(3):
    place = pathlib.Path(directory, str(number))
    multiprom.install(place, also=[registry])
    child.inc(1)
    elsewhere.inc(1)
    collector = multiprom.MultiProcessCollector(None)
    found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
    print(found["n_total"], found["elsewhere_total"], found["g"], found["h_count"])
    multiprom.uninstall()
print(child._value.get(), elsewhere._value.get(), gauge._value.get())
"""
    assert run(MOVED + script, directory).splitlines() == [
        "6.0 6.0 5.0 1.0",
        "7.0 7.0 5.0 1.0",
        "8.0 8.0 5.0 1.0",
        "8.0 8.0 5.0",
    ]


def test_a_variable_of_the_users_own_stays(directory: Path) -> None:
    script = """
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
multiprom.install()
child.inc(1)
multiprom.uninstall()
print(os.environ["PROMETHEUS_MULTIPROC_DIR"] == directory, child._value.get())
multiprom.install(directory + "/other")
multiprom.uninstall()
print(os.environ["PROMETHEUS_MULTIPROC_DIR"] == directory, child._value.get())
"""
    assert run(MOVED + script, directory) == "True 6.0\nTrue 6.0\n"


def test_metrics_made_meanwhile_still_count(directory: Path) -> None:
    script = """
multiprom.install(directory)
late = Counter("late", "Help")
late.inc(5)
multiprom.uninstall()
late.inc(1)
print(late._value.get(), REGISTRY.get_sample_value("late_total"))
"""
    assert run(MOVED + script, directory) == "6.0 6.0\n"


def test_children_go_on_with_what_the_parent_installed(directory: Path) -> None:
    """A fork after uninstall() writes nothing: all is private."""
    script = """
multiprom.install(directory)
multiprom.uninstall()
before = content()
if os.fork() == 0:
    child.inc(1)
    os._exit(child._value.get() != 6.0)
print(os.wait()[1], content() == before)
"""
    assert run(MOVED + script, directory) == "0 True\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total a": 5.0}
