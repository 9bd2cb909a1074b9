"""A disk that is full, and how much of it metrics take.

Nobody is killed, nothing is raised, and no count is lost.

prometheus_client makes a sparse file and dies of SIGBUS when it writes where there is no page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.disks import run_with_disk
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


# Ways in which a value that waits for its file gets one.
CHANCES = {
    "a series is made": "Counter('other', 'Help')",
    "a scrape": "scrape()",
    "a scrape to text": """
from prometheus_client import CollectorRegistry
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry)
multiprom.generate_latest(registry)
""",
    # At most every quarter of a second; it is polled.
    "counting": "until(lambda: waiting.inc(0) or sum(written().values()) >= 1000)",
}


@pytest.mark.parametrize("chance", CHANCES.values(), ids=CHANCES)
def test_full_when_the_file_is_created(chance: str, tmp_path: Path) -> None:
    script = f"""
disk.fill()
waiting = counter = Counter("n", "Help")
for _ in range(1000):
    counter.inc()
print(counter._value.get(), written().get("n_total", 0.0), len(messages))
disk.free()
{chance}
print(counter._value.get(), written()["n_total"])
counter.inc()
print(counter._value.get(), written()["n_total"], len(messages))
"""
    assert run_with_disk(script, tmp_path / "disk").splitlines() == [
        "1000.0 0.0 1",
        "1000.0 1000.0",
        "1001.0 1001.0 1",
    ]


def test_no_empty_file_is_left(tmp_path: Path) -> None:
    """prometheus_client's scrape fails where there is one, and nobody would remove it."""
    script = """
disk.fill()
Counter("n", "Help").inc()
print(sorted(disk.directory.glob("*.db")))
disk.free()
Counter("m", "Help").inc()
print(written())
"""
    printed = run_with_disk(script, tmp_path / "disk")
    assert printed.splitlines() == ["[]", "{'n_total': 1.0, 'm_total': 1.0}"]


@pytest.mark.parametrize("chance", CHANCES.values(), ids=CHANCES)
def test_full_when_the_file_grows(chance: str, tmp_path: Path) -> None:
    """What has its place goes on counting there; what has none waits for it."""
    script = f"""
counter = Counter("n", "Help")
labelled = Counter("l", "Help", ["label"])
counter.inc()
disk.fill()
number = 0
while len(written()) == number + 1:
    number += 1
    labelled.labels("x" * 200 + str(number))
    assert number < 1000
# All these have no place.
counted = 0
for _ in range(200):
    number += 1
    waiting = labelled.labels("x" * 200 + str(number))
    waiting.inc(number)
    counted += number
for _ in range(10):
    counter.inc()
    waiting.inc()
counted += 10
held = sum(child._value.get() for child in labelled._metrics.values())
found = written()
print(found.pop("n_total"), sum(found.values()) == 0, held == counted, len(messages))
disk.free()
{chance}
found = written()
print(found.pop("n_total"), sum(found.values()) == counted, len(messages))
labelled.labels("x" * 200 + str(number)).inc()
found = written()
print(sum(found.values()) == counted + 11 + 1)
print([name for name in os.listdir(directory) if name[0] != "."] == [f"counter_{{os.getpid()}}.db"])
"""
    assert run_with_disk(script, tmp_path / "disk").splitlines() == [
        "11.0 True True 1",
        "11.0 True 1",
        "True",
        "True",
    ]


def test_every_operation_on_every_type(tmp_path: Path) -> None:
    script = """
disk.fill()
counter = Counter("n", "Help", ["label"])
gauges = {mode: Gauge(mode, "Help", multiprocess_mode=mode)
          for mode in ("all", "liveall", "min", "livemax", "sum", "mostrecent")}
histogram = Histogram("h", "Help", buckets=[1, 2])
summary = Summary("s", "Help")
counter.labels("a").inc(2)
for mode, gauge in gauges.items():
    gauge.set(3)
    if mode != "mostrecent":
        gauge.inc()
        gauge.dec(2)
histogram.observe(1.5)
summary.observe(4)
with summary.time():
    pass
print(counter.labels("a")._value.get(), {gauge._value.get() for gauge in gauges.values()})
print([bucket.get() for bucket in histogram._buckets], summary._count.get(), len(messages))
print(sum(written("*.db").values()))
disk.free()
found = scrape()
print(found["n_total"], sorted(found[mode] for mode in gauges))
print(found["h_count"], found["h_sum"], found["s_count"], len(messages))
names = [name for name in os.listdir(directory) if name[0] != "."]
print(sorted(name.rpartition("_")[0] for name in names) == sorted(
    ["counter", "histogram", "summary", *["gauge_" + mode for mode in gauges]]))
"""
    assert run_with_disk(script, tmp_path / "disk").splitlines() == [
        "2.0 {2.0, 3.0}",
        "[0.0, 1.0, 0.0] 2.0 1",
        "0",
        "2.0 [2.0, 2.0, 2.0, 2.0, 2.0, 3.0]",
        "1.0 1.5 2.0 1",
        "True",
    ]


def test_set_while_there_is_no_room_wins_over_what_was(tmp_path: Path) -> None:
    """Also over what a predecessor left; but what is only counted is added to it."""
    script = """
made = multiprom.MultiProcessValue(lambda: "w")
for name, amount in (("set", 5), ("counted", 5), ("reset", 5)):
    for typ, mode in (("gauge", "max"), ("counter", "")):
        made(typ, name, name, (), (), "Help", mode).inc(amount)
made.close_all_files()
# Where a file is there can be no directory.
disk.directory.rename(f"{disk._place}/before")
disk.directory.touch()
made = multiprom.MultiProcessValue(lambda: "w")
held = []
for typ, mode in (("gauge", "max"), ("counter", "")):
    by_set, counted, reset = (
        made(typ, name, name, (), (), "Help", mode) for name in ("set", "counted", "reset"))
    by_set.set(2)
    by_set.inc(1)
    counted.inc(1)
    reset.inc(1)
    reset.set(0)
    held += [by_set, counted, reset]
print([value.get() for value in held])
disk.directory.unlink()
os.rename(f"{disk._place}/before", disk.directory)
scrape()
print(written("gauge_*"))
print(written("counter_*"))
print([value.get() for value in held])
"""
    both = "{'set': 3.0, 'counted': 6.0, 'reset': 0.0}"
    assert run_with_disk(script, tmp_path / "disk").splitlines() == [
        "[3.0, 1.0, 0.0, 3.0, 1.0, 0.0]",
        both,
        both,
        "[3.0, 6.0, 0.0, 3.0, 6.0, 0.0]",
    ]


def test_values_dropped_while_there_is_no_room(tmp_path: Path) -> None:
    """Their counts are history, and are written with the rest."""
    script = """
disk.fill()
for number in range(300):
    made = values.ValueClass("counter", "l", "l", ["label"], [str(number % 100)], "Help")
    made.inc(number)
    del made
disk.free()
scrape()
found = written()
print(len(found), sum(found.values()) == sum(range(300)))
"""
    assert run_with_disk(script, tmp_path / "disk") == "100 True\n"


def test_a_fork_while_there_is_no_room(tmp_path: Path) -> None:
    """The parent's counts are the parent's to write: the child has them at zero."""
    script = """
disk.fill()
counter = Counter("n", "Help")
counter.inc(5)
ready, tell = os.pipe()
go, let_go = os.pipe()
child = os.fork()
if child == 0:
    counter.inc(1)
    os.write(tell, b"%d" % counter._value.get())
    os.read(go, 1)
    # A limit is each process's own.
    disk.free()
    scrape()
    os._exit(0)
print(os.read(ready, 9))
disk.free()
os.write(let_go, b".")
print(os.wait()[1])
from support import files
print(files.values_of(disk.directory / f"counter_{child}.db"))
scrape()
print(files.values_of(disk.directory / f"counter_{os.getpid()}.db"), scrape())
"""
    assert run_with_disk(script, tmp_path / "disk").splitlines() == [
        "b'1'",
        "0",
        "{'n_total': 1.0}",
        "{'n_total': 5.0} {'n_total': 6.0}",
    ]


def test_full_free_and_full_again(tmp_path: Path) -> None:
    script = """
counted = 0
labelled = Counter("l", "Help", ["label"])
for round in range(5):
    disk.fill()
    for number in range(300):
        labelled.labels("x" * 300 + f"{round} {number}").inc()
        labelled.labels("x" * 300 + f"{round - 1} {number}").inc()
        counted += 2
    disk.free()
    scrape()
    print(sum(written().values()) == counted)
print(scrape()["l_total"] > 0, multiprom.left_out())
"""
    expected = "True\n" * 5 + "True ()\n"
    assert run_with_disk(script, tmp_path / "disk") == expected


def test_what_waits_at_the_end_is_written_then(tmp_path: Path) -> None:
    """The last chance of a process that has nothing else to do."""
    script = """
ready, tell = os.pipe()
go, let_go = os.pipe()
disk.fill()
child = os.fork()
if child == 0:
    counter = Counter("n", "Help")
    counter.inc(5)
    os.write(tell, b".")
    os.read(go, 1)
    # A limit is each process's own.
    disk.free()
    # An end with all that belongs to it.
    sys.exit(0)
os.read(ready, 1)
disk.free()
os.write(let_go, b".")
print(os.wait()[1], written())
"""
    assert run_with_disk(script, tmp_path / "disk") == "0 {'n_total': 5.0}\n"


def test_threads_that_count_meanwhile(tmp_path: Path) -> None:
    """The moment at which a value gets its file loses nothing, and counts nothing twice."""
    script = """
import threading
sys.setswitchinterval(1e-6)
labelled = Counter("l", "Help", ["label"])
current = [labelled.labels("first")]
done = threading.Event()
counted = [0] * 3

def count(index):
    while not done.is_set():
        for child in current[-200:]:
            child.inc()
            counted[index] += 1

threads = [threading.Thread(target=count, args=(index,)) for index in range(3)]
for thread in threads:
    thread.start()
for round in range(5):
    disk.fill()
    while len(written()) == len(current):
        current += [labelled.labels("x" * 1000 + f"{len(current)} {n}") for n in range(20)]
    goal = sum(counted) + 10_000
    until(lambda: sum(counted) > goal)
    disk.free()
    scrape()
    print(len(written()) == len(current))
done.set()
for thread in threads:
    thread.join()
print(sum(child._value.get() for child in current) == sum(counted) == sum(written().values()))
"""
    assert run_with_disk(script, tmp_path / "disk") == "True\n" * 6


# How much of a disk metrics take: no more than twice what prometheus_client's files take.
#
# Services keep the directory on a small tmpfs: `/dev/shm` of a container has 64 MiB. The files of
# prometheus_client are sparse, so that only the pages that are written take room.

# One process for each identifier: all of its kinds, with so many series of each.
COUNT = """
import gc, os, sys
directory, processes, series, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
os.environ["MULTIPROM_COMPACTION"] = "off"
from prometheus_client import Counter, Gauge, Histogram, Summary, values
if name == "multiprom":
    import multiprom
    multiprom.install()
for number in range(processes):
    if os.fork() == 0:
        for kind in (Counter, Histogram, Summary):
            metric = kind(kind.__name__.lower(), "Help", ["n"], registry=None)
            for n in range(series):
                getattr(metric.labels(n), "inc" if kind is Counter else "observe")(1)
        for mode in ("all", "liveall", "sum", "livesum", "max", "mostrecent"):
            gauge = Gauge(f"g_{mode}", "Help", ["n"], registry=None, multiprocess_mode=mode)
            for n in range(series):
                gauge.labels(n).set(1)
        os.kill(os.getpid(), 9)
    os.wait()
files = [entry.path for entry in os.scandir(directory)]
print(sum(os.stat(file).st_blocks for file in files) * 512)
"""


@pytest.mark.parametrize(("processes", "series"), [(48, 1), (4, 50), (2, 1000)])
def test_blocks(processes: int, series: int, tmp_path: Path) -> None:
    taken = {}
    for name in ("stock", "multiprom"):
        directory = tmp_path / name
        directory.mkdir()
        taken[name] = int(run(COUNT, directory, str(processes), str(series), name))
    assert taken["multiprom"] <= 2 * taken["stock"], taken


def test_twenty_workers_on_a_disk_of_one_mebibyte(tmp_path: Path) -> None:
    script = """
import subprocess
small = disk.directory.parent / "small"
small.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(small)
for number in range(20):
    if os.fork() == 0:
        Counter("c", "Help").inc()
        Gauge("g", "Help", multiprocess_mode="sum").inc()
        Histogram("h", "Help").observe(1)
        os.kill(os.getpid(), 9)
    os.wait()
found = scrape()
print(found["c_total"], found["g"], found["h_count"], messages)
"""
    assert run_with_disk(script, tmp_path / "disk") == "20.0 20.0 20.0 []\n"


def test_what_was_removed_does_not_come_when_there_is_room(tmp_path: Path) -> None:
    script = """
counter = Counter("n", "Help", ["x"])
counter.labels("a").inc()
disk.fill()
for number in range(100):
    counter.labels("long" * 20 + str(number)).inc()
counter.clear()
counter.labels("b").inc()
disk.free()
time.sleep(0.3)
counter.labels("b").inc()
print([sample.labels for metric in multiprom.MultiProcessCollector(None).collect()
       for sample in metric.samples])
"""
    assert run_with_disk(script, tmp_path / "disk") == "[{'x': 'b'}]\n"
