"""Files, their directory or their descriptors are taken away while values count in them.

A program cleans up, a backup puts a copy back, or a container's volume is made anew.
prometheus_client goes on counting in the removed file, which no scrape sees.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import ours
from support.files import MAGIC, counter, magic, values_of, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


COUNTED = """
import os, pathlib, shutil, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help")
labelled = Counter("l", "Help", ["label"])
gauges = {mode: Gauge(mode, "Help", multiprocess_mode=mode)
          for mode in ("all", "livesum", "max", "mostrecent")}
histogram = Histogram("h", "Help", buckets=[1])
counter.inc(5)
for number in range(1500):
    # Longer than a file in the beginning.
    labelled.labels("x" * 100 + str(number)).inc(number)
for mode, gauge in gauges.items():
    gauge._value.set(5, timestamp=7)
histogram.observe(0.5)

registry = CollectorRegistry()
collector = MultiProcessCollector(registry)

def scrape():
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}

def text():
    return multiprom.generate_latest(registry)

def content():
    return {file.name: file.read_bytes() for file in pathlib.Path(directory).glob("*.db")}

def remove_all():
    shutil.rmtree(directory)

def remove_files():
    for name in [name for name in os.listdir(directory) if name[0] != "."]:
        os.unlink(f"{directory}/{name}")

def remove_one():
    os.unlink(f"{directory}/counter_{os.getpid()}.db")

def replace():
    # Moved away, and an empty one in its place.
    os.rename(directory, directory + ".old")
    os.mkdir(directory)
"""

REMOVALS = ["remove_all", "remove_files", "remove_one", "replace"]


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize(
    "chance",
    [
        "scrape()",
        "text()",
        "other = values.ValueClass('counter', 'o', 'o', (), (), 'Help')",
        "labelled.labels('new')",
    ],
)
def test_files_are_written_anew(removal: str, chance: str, directory: Path) -> None:
    """A scrape is served, or a series made: then all that was counted is there again."""
    script = f"""
before = content()
{removal}()
# Counted in what nobody sees, but not lost.
counter.inc(2)
gauges["max"].inc()
{chance}
counter.inc(1)
found = scrape()
print(found["n_total"], found["max"], found["livesum"], found["all"], found["mostrecent"])
print(found["h_count"], found["l_total"], counter._value.get())
print(sorted(content()) == sorted(before))
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines()
    last = "0.0" if "new" in chance else "1499.0"
    assert printed == ["8.0 6.0 5.0 5.0 5.0", f"1.0 {last} 8.0", "True"]
    for file in directory.glob("*.db"):
        assert magic(file) == MAGIC
    [file] = directory.glob("counter_*.db")
    found = values_of(file)
    assert sum(value for name, value in found.items() if name.startswith("l_")) == sum(range(1500))


@pytest.mark.parametrize("path", ["", ", directory"], ids=["variable", "path"])
@pytest.mark.parametrize("removal", REMOVALS)
def test_a_collector_made_after_the_removal(path: str, removal: str, directory: Path) -> None:
    """As most programs do it, for each scrape."""
    script = f"""
{removal}()
counter.inc(2)
found = {{s.name: s.value for metric in MultiProcessCollector(None{path}).collect()
         for s in metric.samples}}
print(found["n_total"], len(found))
print(*[text.replace(str(os.getpid()), "N").replace(directory + "/", "") for text in messages])
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines()
    assert printed[0] == "7.0 9"
    # One warning, however many files are missing; which of them it names is left to chance.
    assert re.fullmatch(
        r'"\w+_N\.db" was removed while this process counted in it: it is written anew with all '
        r"that it held, and so is each other file of this process that is missing",
        printed[1],
    )


def test_nothing_changes_for_who_was_not_touched(directory: Path) -> None:
    script = """
before = content()
inodes = {name: os.stat(f"{directory}/{name}").st_ino for name in before}
for _ in range(3):
    scrape()
    text()
    labelled.labels("x" * 100 + "7")
print(content() == before)
print({name: os.stat(f"{directory}/{name}").st_ino for name in before} == inodes, messages)
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "True\nTrue []\n"


@pytest.mark.parametrize("removal", REMOVALS)
def test_a_child_writes_its_own(removal: str, directory: Path) -> None:
    """A fork is a moment at which it is noticed: the directory is there for the child."""
    script = f"""
{removal}()
sys.stdout.flush()
if os.fork() == 0:
    counter.inc(1)
    os._exit(0)
child, status = os.wait()
print(child, status, flush=True)
# Nothing of this process's own comes after it.
os._exit(0)
"""
    printed = run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory)
    child, status = printed.split()
    assert status == "0"
    found = values_of(directory / f"counter_{child}.db")
    assert found.pop("n_total") == 1.0
    assert len(found) == 1500
    assert set(found.values()) == {0.0}


def test_again_and_again(directory: Path) -> None:
    script = """
for number in range(20):
    (remove_all, remove_files, remove_one)[number % 3]()
    counter.inc()
    assert scrape()["n_total"] == 6 + number, number
print(len(messages) <= 20 * 6, len([name for name in os.listdir(directory) if name[0] != "."]))
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "True 6\n"


def test_another_process_took_the_name_meanwhile(directory: Path) -> None:
    """The file that is there now is held: this one writes beside it, and both are scraped."""
    script = """
made = multiprom.MultiProcessValue(lambda: "w")
value = made("counter", "v", "v_total", (), (), "Help")
value.inc(5)
os.unlink(f"{directory}/counter_w.db")
ready, tell = os.pipe()
go, let_go = os.pipe()
if os.fork() == 0:
    other = multiprom.MultiProcessValue(lambda: "w")("counter", "v", "v_total", (), (), "Help")
    other.inc(10)
    os.write(tell, b".")
    os.read(go, 1)
    os._exit(0)
os.read(ready, 1)
value.inc(1)
print(scrape()["v_total"])
os.write(let_go, b".")
print(os.wait()[1], scrape()["v_total"], value.get())
print(sorted(name for name in os.listdir(directory) if "_w" in name and "counter" in name))
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "16.0",
        "0 16.0 6.0",
        "['counter_w-1.db', 'counter_w.db']",
    ]


def test_threads_that_count_meanwhile(directory: Path) -> None:
    script = """
from support.counting_threads import CountingThreads
threads = CountingThreads(counter.inc)
for number in range(30):
    threads.wait_for(500)
    (remove_all, remove_files, remove_one)[number % 3]()
    scrape()
total = 5 + threads.stop()
print(counter._value.get() == total, scrape()["n_total"] == total)
"""
    assert run(COUNTED + script, PROMETHEUS_MULTIPROC_DIR=directory) == "True True\n"


@pytest.mark.parametrize("end", ["", "raise SystemExit", "os._exit(0)"])
def test_a_program_that_removes_its_directory_at_the_end_leaves_nothing(
    end: str, directory: Path
) -> None:
    """Nobody will scrape what it counted, and a temporary directory must not come back."""
    run(COUNTED + "remove_all()\n" + end, PROMETHEUS_MULTIPROC_DIR=directory)
    assert not directory.exists()


def _scrape() -> dict[str, float]:
    collector = multiprom.MultiProcessCollector(CollectorRegistry())
    return {
        sample.name: sample.value for metric in collector.collect() for sample in metric.samples
    }


def test_a_copy_counts_once(directory: Path) -> None:
    with ours.value_class(lambda: "a") as made:
        value = ours.value(made)
        value.inc(5)
        shutil.copy(directory / "counter_a.db", directory / "copy")
        os.replace(directory / "copy", directory / "counter_a.db")  # noqa: PTH105
        value.inc(1)
        assert _scrape() == {"requests_total": 6.0}
        assert value.get() == 6.0


def test_what_only_the_other_file_has_is_kept(directory: Path) -> None:
    with ours.value_class(lambda: "a") as made:
        ours.value(made).inc(5)
        write(directory / "other", [counter(2, "elsewhere")])
        os.replace(directory / "other", directory / "counter_a.db")  # noqa: PTH105
        assert _scrape() == {"requests_total": 5.0, "elsewhere_total": 2.0}


# A directory goes away and comes back: renamed, unmounted, or a link to it is switched.
#
# The process that counts writes its files anew meanwhile, with all that they held. The old files
# are still there, and no lock is held on them.

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


# A program that closes descriptors that are not its own, and opens files under their numbers.
#
# Daemonizing code does that (`os.closerange`). Whoever then grows, locks or closes the descriptor
# by its number does so to a file of the program.

BEGINNING = """
import os, subprocess, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
counter = Counter("n", "Help", ["l"])
counter.labels("first").inc()
os.closerange(3, 100)
paths = [os.path.join(sys.argv[1], f"own-{number}") for number in range(20)]
own = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
for descriptor in own:
    os.write(descriptor, b"mine")

def check():
    for descriptor in own:
        assert os.fstat(descriptor).st_size == 4, os.fstat(descriptor)
        assert os.pread(descriptor, 9, 0) == b"mine"

def total():
    return sum(s.value for m in multiprom.MultiProcessCollector(None).collect() for s in m.samples)
"""

ACTS = {
    "growing": """
for number in range(3000):
    counter.labels(str(number)).inc()
check()
assert total() == 3001, total()
# The file is still locked: another process sees that this one lives.
compact = "import multiprom; print(multiprom.compact().files_folded)"
assert subprocess.check_output([sys.executable, "-c", compact]) == b"0\\n"
assert total() == 3001, total()
""",
    "opening another file": """
Gauge("g", "Help", multiprocess_mode="sum").set(2)
check()
assert total() == 3, total()
from multiprom import _core
[slot] = [slot for slot in _core.slots(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if slot[1]]
""",
    "closing": """
values.ValueClass.close_all_files()
check()
counter.labels("first").inc()
assert total() == 2, total()
""",
    "forking": """
pid = os.fork()
if pid == 0:
    counter.labels("first").inc()
    check()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
check()
assert total() == 2, total()
""",
    "ending": "",
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_files_of_the_program_stay_as_they_are(act: str, directory: Path, tmp_path: Path) -> None:
    ending = "check()\nassert messages == [], messages\nprint('sound')\n"
    printed = run(BEGINNING + act + ending, tmp_path, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "sound\n"
    assert {file.read_bytes() for file in tmp_path.glob("own-*")} == {b"mine"}
