"""Metrics that count in prometheus_client's files already: install() continues the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import MAGIC, extents, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram, values
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
assert values.ValueClass._multiprocess
counter = Counter("n", "Help", ["label"])
child = counter.labels("a")
gauges = {mode: Gauge(mode, "Help", multiprocess_mode=mode)
          for mode in ("all", "livesum", "max", "mostrecent")}
histogram = Histogram("h", "Help", registry=None)
child.inc(5)
for gauge in gauges.values():
    gauge._value.set(5, timestamp=7)
histogram.observe(5)
held = [child._value, gauges["livesum"]._value, histogram._sum]
stock = values.ValueClass
"""

FINISH = """
sys.stdout.flush()
# Where something of prometheus_client's is left open, that is no concern here.
os._exit(0)
"""


@pytest.mark.parametrize("install", ["multiprom.install()", "multiprom.install(directory)"])
def test_the_same_files_are_continued(install: str, directory: Path) -> None:
    script = f"""
import multiprom
{install}
print(values.ValueClass is stock, values.ValueClass._multiprocess)
child.inc(1)
for gauge in gauges.values():
    gauge._value.inc(1)
histogram.observe(2)
for value in held:
    value.inc(1)
counter.labels("new").inc(1)
Counter("late", "Help").inc(1)
print([value.get() for value in held], os.getpid())
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    first, second = printed.splitlines()
    assert first == "False True"
    got, _, pid = second.rpartition(" ")
    assert got == "[7.0, 7.0, 8.0]"
    kinds = ["counter", *[f"gauge_{mode}" for mode in ("all", "livesum", "max", "mostrecent")]]
    kinds.append("histogram")
    assert sorted(file.name for file in directory.glob("*.db")) == [f"{k}_{pid}.db" for k in kinds]
    for file in directory.glob("*.db"):
        assert magic(file) == MAGIC
        # No series has two entries.
        assert len(extents(file.read_bytes())) == len(values_of(file))
    assert values_of(directory / f"counter_{pid}.db") == {
        "n_total a": 7.0,
        "n_total new": 1.0,
        "late_total": 1.0,
    }
    assert values_of(directory / f"gauge_livesum_{pid}.db") == {"livesum": 7.0}
    assert values_of(directory / f"gauge_max_{pid}.db") == {"max": 6.0}
    assert values_of(directory / f"histogram_{pid}.db")["h_sum"] == 8.0


def test_values_that_nobody_counts_in_are_continued_too(directory: Path) -> None:
    """A live gauge that is not touched again keeps its value, and a timestamp its time."""
    script = """
import multiprom
multiprom.install()
collector = multiprom.MultiProcessCollector(None)
print({s.name: s.value for metric in collector.collect() for s in metric.samples
       if s.name in (*gauges, "n_total", "h_sum")})
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert eval(printed) == {
        **dict.fromkeys(("all", "livesum", "max", "mostrecent"), 5.0),
        "n_total": 5.0,
        "h_sum": 5.0,
    }


def test_a_class_with_an_identifier_of_its_own(directory: Path) -> None:
    script = """
import multiprom
values.ValueClass = stock = values.MultiProcessValue(lambda: "w")
own = Counter("own", "Help")
own.inc(5)
multiprom.install()
print(values.ValueClass is stock)
own.inc(1)
print(own._value.get())
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "False\n6.0\n"
    assert values_of(directory / "counter_w.db") == {"own_total": 6.0}
    assert magic(directory / "counter_w.db") == MAGIC


def test_each_file_is_looked_at_once(directory: Path) -> None:
    """And not for each value: beside busy threads a system call takes as long as their turns."""
    script = """
import multiprom
for number in range(1000):
    counter.labels(str(number)).inc(1)
stat, looked_at = os.stat, []

def counted_stat(path, *arguments, **keywords):
    looked_at.append(path)
    return stat(path, *arguments, **keywords)

os.stat = counted_stat
multiprom.install()
os.stat = stat
print(sorted({os.path.basename(path).rpartition("_")[0] for path in looked_at}))
print(len(looked_at) < 50, counter.labels("999")._value.get())
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    looked_at, *rest = printed.splitlines()
    assert "'counter'" in looked_at
    assert rest == ["True 1.0"]


def test_a_fork_afterwards(directory: Path) -> None:
    """Preloaded by a server that installs us last: the children's files are ours, at zero."""
    script = """
import multiprom
multiprom.install()
pid = os.fork()
if pid == 0:
    child.inc(1)
    held[0].inc(1)
    os._exit(0)
print(pid, os.waitpid(pid, 0)[1])
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    pid, status = printed.split()
    assert status == "0"
    assert values_of(directory / f"counter_{pid}.db") == {"n_total a": 2.0}
    assert values_of(directory / f"gauge_livesum_{pid}.db") == {"livesum": 0.0}
    assert magic(directory / f"counter_{pid}.db") == MAGIC


def test_install_in_the_child(directory: Path) -> None:
    """After the fork, before anything was counted there."""
    script = """
import multiprom
pid = os.fork()
if pid == 0:
    multiprom.install()
    child.inc(1)
    held[0].inc(1)
    os._exit(0)
print(os.getpid(), pid, os.waitpid(pid, 0)[1])
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    parent, pid, status = printed.split()
    assert status == "0"
    assert values_of(directory / f"counter_{parent}.db") == {"n_total a": 5.0}
    assert values_of(directory / f"counter_{pid}.db") == {"n_total a": 2.0}
    assert values_of(directory / f"gauge_livesum_{pid}.db") == {"livesum": 0.0}


def test_back_to_stock(directory: Path) -> None:
    """Whatever counts then: nothing is lost, and nothing is counted twice."""
    script = """
import multiprom
multiprom.install()
child.inc(1)
multiprom.uninstall()
print(values.ValueClass is stock)
child.inc(1)
held[0].inc(1)
print(child._value.get(), held[0].get())
collector = multiprom.MultiProcessCollector(None)
print({s.name: s.value for metric in collector.collect() for s in metric.samples}["n_total"])
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "True\n8.0 8.0\n8.0\n"
