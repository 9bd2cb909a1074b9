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


def test_uninstall_leaves_values_in_files_of_multiprom(directory: Path) -> None:
    """Two writers would damage a file: those that prometheus_client's class makes are there too."""
    script = """
import multiprom
multiprom.install()
child.inc(1)
late = Counter("late", "Help")
late.inc(1)
multiprom.uninstall()
print(values.ValueClass is stock)
child.inc(1)
held[0].inc(1)
late.inc(1)
Counter("latest", "Help").inc(1)
gauge = Gauge("level", "Help", multiprocess_mode="mostrecent")
gauge.set(3)
print(child._value.get(), held[0].get(), gauge._value.get(), os.getpid())
multiprom.install()
child.inc(1)
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    first, second = printed.splitlines()
    assert first == "True"
    got, _, pid = second.rpartition(" ")
    assert got == "8.0 8.0 3.0"
    [file] = directory.glob("counter_*.db")
    assert file.name == f"counter_{pid}.db"
    assert magic(file) == MAGIC
    assert values_of(file) == {"n_total a": 9.0, "late_total": 2.0, "latest_total": 1.0}


@pytest.mark.parametrize("how", ["uninstall", "close_all", "values.ValueClass.close_all_files"])
def test_no_count_is_lost_to_compaction(how: str, directory: Path) -> None:
    """What this process counts after its files were given up is not in files that were folded."""
    script = f"""
import multiprom
multiprom.install()
close_all = getattr(values, "close_all_multiprocess_files", values.ValueClass.close_all_files)
uninstall = multiprom.uninstall
child.inc(10)
{how}()
child.inc(100)
pid = os.fork()
if pid == 0:
    multiprom.compact()
    os._exit(0)
os.waitpid(pid, 0)
child.inc(1000)
multiprom.compact()
child.inc(10000)
collector = multiprom.MultiProcessCollector(None)
found = {{s.name: s.value for metric in collector.collect() for s in metric.samples}}
print(child._value.get(), found["n_total"])
"""
    printed = run(
        COUNTED + script + FINISH,
        PROMETHEUS_MULTIPROC_DIR=directory,
        MULTIPROM_COMPACTION="on",
    )
    assert printed == "11115.0 11115.0\n"


def test_a_fork_after_uninstall_writes_no_file_twice(directory: Path) -> None:
    script = """
import multiprom
multiprom.install()
late = Counter("late", "Help")
multiprom.uninstall()
pid = os.fork()
if pid == 0:
    child.inc(1)
    late.inc(1)
    for number in range(3):
        Counter(f"m{number}", "Help").inc(1)
    os._exit(0)
print(pid, os.waitpid(pid, 0)[1])
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    pid, status = printed.split()
    assert status == "0"
    assert values_of(directory / f"counter_{pid}.db") == {
        "n_total a": 1.0,
        "late_total": 1.0,
        **{f"m{number}_total": 1.0 for number in range(3)},
    }


def test_values_of_the_class_of_before(directory: Path) -> None:
    """Whoever has kept it makes values that count with the others."""
    script = """
import multiprom
multiprom.install()
kept = stock("counter", "l", "l_total", [], [], "Help")
kept.inc(7)
level = stock("gauge", "m", "m", [], [], "Help", multiprocess_mode="mostrecent")
level.set(3, 1234.5)
print(kept.get(), level.get(), stock("counter", "l", "l_total", [], [], "Help").get())
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "7.0 3.0 7.0\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total a": 5.0, "l_total": 7.0}
    [file] = directory.glob("gauge_mostrecent_*.db")
    assert values_of(file) == {"mostrecent": 5.0, "m": 3.0}


def test_one_that_cannot_move(directory: Path) -> None:
    """It counts in memory, with one warning, and keeps no other from moving."""
    script = """
import multiprom
from support.warned import messages
refused, last = Counter("refused", "Help"), Counter("z", "Help")
refused.inc(2)
last.inc(3)
make_key = values.mmap_key

def refuse(*arguments):
    if arguments[0] == "refused":
        raise ValueError("unheard of")
    return make_key(*arguments)

values.mmap_key = refuse
multiprom.install()
multiprom.install()
refused.inc(1)
last.inc(1)
print(refused._value.get(), last._value.get())
print(*messages)
values.mmap_key = make_key
multiprom.install()
collector = multiprom.MultiProcessCollector(None)
found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
print(found["refused_total"], found["z_total"])
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    first, message, last = printed.splitlines()
    assert first == "3.0 4.0"
    assert message.startswith("could not move a series of 'refused_total' into shared files")
    assert message.endswith("(ValueError('unheard of'))")
    assert last == "3.0 4.0"


def test_an_identifier_that_fails(directory: Path) -> None:
    """install() raises what it raises, and leaves values as they are, for another one."""
    script = """
import multiprom
fails = False

def identifier():
    if fails:
        raise OSError("unknown")
    return "w"

values.ValueClass = values.MultiProcessValue(identifier)
own = Counter("own", "Help")
own.inc(1)
fails = True
try:
    multiprom.install()
except OSError as error:
    print(error)
fails = False
own.inc(10)
multiprom.install()
own.inc(100)
print(own._value.get())
"""
    printed = run(COUNTED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "unknown\n111.0\n"
    assert values_of(directory / "counter_w.db") == {"own_total": 111.0}


def test_from_the_directory_of_prometheus_client_to_another(directory: Path) -> None:
    script = """
import os, sys
import multiprom
from prometheus_client import Counter, Gauge
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="sum")
counter.inc(5); gauge.set(3)
multiprom.install(sys.argv[1])
counter.inc(1)
collector = multiprom.MultiProcessCollector(None)
print({s.name: s.value for metric in collector.collect() for s in metric.samples})
"""
    first, second = directory / "first", directory / "second"
    first.mkdir()
    printed = run(script + FINISH, second, PROMETHEUS_MULTIPROC_DIR=first)
    assert printed == "{'n_total': 6.0, 'g': 3.0}\n"


REPLACED = """
import os, shutil, sys, warnings
import multiprom
from support.scripts import scrape
from prometheus_client import Counter, Gauge
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help", ["label"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
child = counter.labels("a")
child.inc(3)
gauge.set(5)
"""

# What happens to each file.
EVENTS = {
    "nothing": "",
    "removed": "os.unlink(path)",
    "replaced by an empty one": "os.unlink(path); open(path, 'x').close()",
    "replaced by a copy": "shutil.copy(path, other); os.replace(other, path)",
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_what_was_held(event: str, directory: Path) -> None:
    script = f"""
for name in [name for name in os.listdir(directory) if name[0] != "."]:
    path, other = os.path.join(directory, name), os.path.join(directory, "other")
    {event or "pass"}
child.inc(2)
multiprom.install()
child.inc(1)
gauge.inc(1)
print(scrape(), child._value.get())
"""
    printed = run(REPLACED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "{'n_total': 6.0, 'g': 6.0} 6.0\n"


@pytest.mark.parametrize("place", ["removed", "another"])
def test_a_child_that_was_made_anew(place: str, directory: Path) -> None:
    """It goes on from what the first one had counted: prometheus_client keeps both values."""
    script = f"""
# That the file keeps it.
warnings.simplefilter("ignore", UserWarning)
counter.remove("a")
counter.labels("a").inc(2)
if {place!r} == "removed":
    for name in [name for name in os.listdir(directory) if name[0] != "."]:
        os.unlink(os.path.join(directory, name))
    multiprom.install()
else:
    multiprom.install(directory + "/another")
counter.labels("a").inc(1)
print(scrape())
"""
    printed = run(REPLACED + script + FINISH, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "{'n_total': 6.0, 'g': 5.0}\n"
