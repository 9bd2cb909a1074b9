"""Who lives: the slots that processes hold, a process that calls itself dead, and odd ends.

Each process that uses a directory holds a slot while it lives, and the kernel frees it.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import multiprom
import pytest
from multiprom import _core
from support import ours
from support.files import values_of
from support.interpreters import another, run

SLOT = ".multiprom.slot-0.lock"

COUNTING = """
import os, sys
import multiprom
multiprom.install()
from prometheus_client import Counter
Counter("requests", "Help").inc()
"""
WAITING = """
print(os.getpid(), flush=True)
input()
"""


def holders(directory: Path) -> dict[int, int]:
    """Return the pids of those who hold a slot, by its number."""
    slots = _core.slots(str(directory))
    return {number: who[0] for number, is_held, _, who in slots if is_held and who}


def test_a_process_that_counts_holds_one_until_it_ends(directory: Path) -> None:
    assert _core.slots(str(directory)) == []
    with another(directory, COUNTING + WAITING) as (_, first):
        assert holders(directory) == {0: first}
        with another(directory, COUNTING + WAITING) as (second, pid):
            assert holders(directory) == {0: first, 1: pid}
            second.send_signal(signal.SIGKILL)
            second.wait(timeout=60)
            assert holders(directory) == {0: first}
            with another(directory, COUNTING + WAITING) as (_, third):
                assert holders(directory) == {0: first, 1: third}
    assert holders(directory) == {}
    assert len(_core.slots(str(directory))) == 2


def test_values_without_install_leave_no_other_file(directory: Path, made: Any) -> None:
    """Tests of programs list the directory, prometheus_client's own among them."""
    ours.value(made).inc(1)
    assert [file.name for file in directory.iterdir()] == ["counter_w.db"]


def test_the_file_says_who_holds_it(directory: Path) -> None:
    multiprom.install()
    with ours.value_class(lambda: "web-1") as made:
        ours.value(made).inc(1)
        content = json.loads((directory / SLOT).read_text())
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        assert content == {
            "pid": os.getpid(),
            "start": start,
            "identifier": "web-1",
            "role": "worker",
        }
        assert _core.hold_slot(str(directory), "master") == 0
        who = (os.getpid(), start, "web-1", "master")
        assert _core.slots(str(directory)) == [(0, True, True, who)]
        _core.leave(str(directory))
        assert _core.slots(str(directory)) == [(0, False, False, who)]


def test_a_child_does_not_keep_its_parents(directory: Path) -> None:
    script = COUNTING + (
        """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    input()
"""
    )
    with another(directory, script) as (parent, _):
        assert parent.wait(timeout=60) == 0
        assert holders(directory) == {}


def test_a_child_that_counts_has_its_own(directory: Path) -> None:
    script = COUNTING + (
        """
if os.fork() == 0:
    Counter("tasks", "Help").inc()
    print(os.getpid(), flush=True)
input()
"""
    )
    with another(directory, script) as (parent, child):
        assert holders(directory) == {0: parent.pid, 1: child}


@pytest.mark.parametrize(("mode", "expected"), [(0o700, 0o600), (0o775, 0o664), (0o1777, 0o666)])
def test_whoever_shares_the_directory_can_lock_it(
    directory: Path, mode: int, expected: int
) -> None:
    directory.chmod(mode)
    assert _core.hold_slot(str(directory), "worker") == 0
    found = (directory / SLOT).stat()
    assert found.st_mode & 0o7777 == expected
    assert (found.st_uid, found.st_gid) == (directory.stat().st_uid, directory.stat().st_gid)


def test_it_is_no_metrics_file(directory: Path) -> None:
    assert _core.hold_slot(str(directory), "worker") == 0
    assert list(multiprom.MultiProcessCollector(None, directory).collect()) == []
    assert [item for item in multiprom.left_out() if str(directory) in item.path] == []


def test_where_there_can_be_none_all_else_goes_on(directory: Path, made: Any) -> None:
    multiprom.install()
    (directory / SLOT).symlink_to("elsewhere")
    value = ours.value(made)
    value.inc(1)
    assert list(directory.glob("counter_*.db"))
    assert _core.hold_slot(str(directory), "worker") is None
    assert not (directory / "elsewhere").exists()
    # It is tried again at the next file.
    (directory / SLOT).unlink()
    ours.value(made, typ="summary").inc(1)
    assert holders(directory) == {0: os.getpid()}


def test_arguments_are_checked(directory: Path) -> None:
    with pytest.raises(ValueError, match="boss"):
        _core.hold_slot(str(directory), "boss")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        _core.slots(str(directory / "gone"))
    assert _core.hold_slot(str(directory / "gone"), "worker") is None
    _core.leave(str(directory / "gone"))


# A process that was told to be dead, by itself, does not bring its live gauges back.
#
# LiteLLM and BentoML mark themselves when they shut down; what runs after that still sets gauges.

METRICS = """
import os
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
from prometheus_client import multiprocess

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
modes = sorted(multiprocess._LIVE_GAUGE_MULTIPROCESS_MODES)
assert len(modes) > 3

def live_files():
    return [file for file in os.listdir(directory) if file.startswith("gauge_live")]

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return sorted((s.name, s.value) for metric in collector.collect() for s in metric.samples)
"""


@pytest.mark.parametrize(
    "call",
    [
        "multiprocess.mark_process_dead(os.getpid())",
        "multiprocess.mark_process_dead(str(os.getpid()))",
        "multiprom.mark_process_dead(os.getpid(), directory)",
        "multiprom.mark_process_dead(os.getpid(), path=directory + '/')",
    ],
)
def test_its_live_gauges_stay_away(call: str, directory: Path) -> None:
    script = f"""
gauges = [Gauge(mode, "Help", multiprocess_mode=mode) for mode in modes]
kept = Gauge("kept", "Help", multiprocess_mode="max")
counter = Counter("n", "Help")
for metric in (*gauges, kept):
    metric.set(5)
counter.inc(5)
print(len(live_files()) == len(modes))

{call}
print(live_files())
for metric in (*gauges, kept):
    metric.set(7)
counter.inc(1)
late = Gauge("late", "Help", multiprocess_mode="liveall")
late.set(1)
for _ in range(2):
    print(scrape(), live_files())
# The process itself still knows them.
print({{gauge._value.get() for gauge in gauges}}, late._value.get())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "True",
        "[]",
        *["[('kept', 7.0), ('n_total', 6.0)] []"] * 2,
        "{7.0} 1.0",
    ]
    assert list(directory.glob("gauge_live*")) == []


def test_before_it_set_any(directory: Path) -> None:
    script = """
multiprocess.mark_process_dead(os.getpid())
Gauge("n", "Help", multiprocess_mode="livesum").set(1)
print(scrape(), live_files())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[] []\n"


def test_another_process_is_marked(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(5)
multiprocess.mark_process_dead(os.getppid())
gauge.set(6)
print(scrape())
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "[('n', 6.0)]\n"


def test_a_child_of_it_lives(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(5)
multiprocess.mark_process_dead(os.getpid())
gauge.set(6)
if os.fork() == 0:
    gauge.set(1)
    os._exit(0)
child, status = os.wait()
names = [name for name in os.listdir(directory) if name[0] != "."]
print(status, names == [f"gauge_livesum_{child}.db"])
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "0 True\n"
    [file] = directory.glob("*.db")
    assert values_of(file) == {"n": 1.0}


def test_by_another_path_of_its_directory(directory: Path) -> None:
    script = """
gauge = Gauge("n", "Help", multiprocess_mode="livesum")
gauge.set(1)
multiprom.mark_process_dead(os.getpid(), os.path.realpath(directory))
gauge.set(2)
print(scrape(), live_files())
"""
    link = directory.parent / "link"
    link.symlink_to(directory)
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=link) == "[] []\n"


def test_who_marks_others_gets_no_files(directory: Path) -> None:
    """Such as a child that only cleans up."""
    script = """
Counter("n", "Help").inc()
pid = os.fork()
if pid == 0:
    multiprom.mark_process_dead(99999)
    os._exit(0)
os.waitpid(pid, 0)
print(len([name for name in os.listdir(directory) if name[0] != "."]))
"""
    assert run(METRICS + script, PROMETHEUS_MULTIPROC_DIR=directory) == "1\n"


# Processes that become another program, go on as daemons, or end without a word.
#
# Each count is there once, and nothing stays locked after the last process has ended: the files can
# be folded.

BEGINNING = """
import os, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="livesum")

def count(amount):
    counter.inc(amount)
    gauge.set(amount)

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
    return found["n_total"], found["g"]

count(1)
"""

# Each prints what the last process sees: all counts, and the gauges of those who live.
WAYS = {
    # `O_CLOEXEC` closes the files, and that frees their locks. The pid stays.
    "execv": """
if sys.argv[-1] == "again":
    print(*scrape(), messages)
else:
    count(109)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "again"])
""",
    "execv in a child": """
if os.fork() == 0:
    count(110)
    os.execv(sys.executable, [sys.executable, "-c", "import multiprom; multiprom.install()"])
os.wait()
print(*scrape(), messages)
""",
    # As daemon(3): the grandchild goes on, the others end by os._exit.
    "a daemon": """
reader, writer = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    os.setsid()
    count(10)
    if os.fork() == 0:
        os.close(writer)
        count(100)
        # Until the two others have ended.
        assert os.read(reader, 1) == b""
        gauge.set(1)
        print(*scrape(), messages, flush=True)
    os._exit(0)
os._exit(0)
""",
    "multiprocessing, and os._exit": """
import multiprocessing

def work(amount):
    count(amount)
    os._exit(0)

context = multiprocessing.get_context("fork")
children = [context.Process(target=work, args=(amount,)) for amount in (10, 100)]
for child in children:
    child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
print(*scrape(), messages)
""",
    "an interpreter within the interpreter": """
try:
    import _interpreters
    # The others have a GIL of their own, and load no extension module that PyO3 makes.
    inner = _interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as _interpreters
    inner = _interpreters.create(isolated=False)
_interpreters.run_string(inner, '''
import multiprom
multiprom.install()
from prometheus_client import Counter
Counter("n", "Help").inc(100)
''')
_interpreters.destroy(inner)
counter.inc(10)
print(*scrape(), messages)
""",
}


@pytest.mark.parametrize("script", WAYS.values(), ids=WAYS)
def test_each_count_is_there_once(script: str, directory: Path) -> None:
    printed = run(BEGINNING + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on")
    assert printed == "111.0 1.0 []\n"
    assert multiprom.compact().left_alone == ()
    [archive] = directory.glob("*.db")
    assert values_of(archive) == {"n_total": 111.0}
