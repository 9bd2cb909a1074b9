"""uninstall() gives metrics that were moved their values in memory back; and install() again."""

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


SCRAPE = """
import os, sys
import multiprom
from prometheus_client import Counter, Gauge, Histogram
from support.scripts import scrape
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


def test_what_another_metric_of_the_series_counts_between(directory: Path) -> None:
    script = """
other = Counter("n", "Help", registry=None)
counter = Counter("n", "Help")
counter.inc(2); other.inc(3)
multiprom.install(sys.argv[1], also=[other])
multiprom.uninstall()
other.inc(1)
counter.inc(1)
multiprom.install(sys.argv[1], also=[other])
counter.inc(1)
print(scrape()["n_total"], counter._value.get(), other._value.get())
"""
    assert run(SCRAPE + script, directory) == "8.0 8.0 8.0\n"


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


def test_often(directory: Path) -> None:
    """By a library that cannot know who called it before; metrics may be equal, and unhashable."""
    script = """
class Odd(Counter):
    def __eq__(self, other):
        return True

metrics = [Odd(f"n{number}", "Help", registry=None) for number in range(10)]
for metric in metrics:
    metric.inc(5)
for _ in range(100):
    multiprom.install(sys.argv[1], also=metrics)
for metric in metrics:
    metric.inc(1)
print({metric._value.get() for metric in metrics}, set(scrape().values()))
multiprom.uninstall()
for metric in metrics:
    metric.inc(1)
print({metric._value.get() for metric in metrics}, metrics[0]._value._multiprocess)
"""
    assert run(SCRAPE + script, directory) == "{6.0} {6.0}\n{7.0} False\n"


def test_metrics_that_are_gone_are_forgotten(directory: Path) -> None:
    script = """
import gc, weakref
from prometheus_client import CollectorRegistry
gone = []
for number in range(20):
    registry = CollectorRegistry()
    counter = Counter("n", "Help", registry=registry)
    counter.inc(1)
    multiprom.install(sys.argv[1], also=[registry])
    gone += [weakref.ref(registry), weakref.ref(counter), weakref.ref(counter._value)]
del registry, counter
gc.collect()
print({reference() for reference in gone}, scrape()["n_total"])
"""
    assert run(SCRAPE + script, directory) == "{None} 20.0\n"
