"""A fork: all series of the parent are in the child's own files, at zero, and count there.

So are they in the processes of multiprocessing, however they are started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support import ours
from support.equality import samples
from support.files import MAGIC, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


# Runs with stock, too.
FORKED = """
import os, sys
directory, library, action = sys.argv[1:]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
if library == "multiprom":
    import multiprom
    multiprom.install()
from prometheus_client import Counter, Gauge, Histogram, Summary, values

parent = os.getpid()
counter = Counter("n", "Help")
labelled = Counter("l", "Help", ["label"])
for number in range(1000):
    # Long enough for the files to grow.
    labelled.labels("x" * 100 + str(number)).inc(number)
gauges = {mode: Gauge(mode, "Help", multiprocess_mode=mode) for mode in (
    "all", "liveall", "min", "max", "livesum", "mostrecent")}
histogram = Histogram("h", "Help", ["label"])
summary = Summary("s", "Help")

counter.inc(5)
for mode, gauge in gauges.items():
    gauge._value.set(5, timestamp=7)
histogram.labels("a").observe(5)
summary.observe(5)

actions = {
    "inc": lambda: counter.inc(2),
    "labelled": lambda: labelled.labels("x" * 100 + "7").inc(2),
    "set": lambda: gauges["all"]._value.set(2, timestamp=3),
    "observe": lambda: summary.observe(2),
    "get": lambda: print(counter._value.get(), gauges["livesum"]._value.get()),
    "new": lambda: Counter("new", "Help").inc(2),
    "new child": lambda: histogram.labels("b").observe(2),
    "nothing": lambda: None,
}
sys.stdout.flush()
if os.fork() == 0:
    actions[action]()
    sys.stdout.flush()
    os._exit(0)
child, status = os.wait()
# It goes on as before.
counter.inc(1)
print(status, counter._value.get(), parent, child, flush=True)
# Stock would complain of files that are not closed.
os._exit(0)
"""


@pytest.mark.parametrize(
    "action", ["inc", "labelled", "set", "observe", "get", "new", "new child", "nothing"]
)
def test_the_same_files_as_stock(action: str, tmp_path: Path) -> None:
    """Whatever the child does first: all series are in files of its own, in the same order."""
    printed = []
    for library in ("multiprom", "stock"):
        directory = tmp_path / library
        directory.mkdir()
        *lines, end = run(FORKED, directory, library, action).splitlines()
        status, count, parent, child = end.split()
        assert (status, count) == ("0", "6.0")
        printed.append(lines)
        for number, pid in enumerate((parent, child), 1):
            for file in directory.glob(f"*_{pid}.db"):
                file.rename(file.with_stem(file.stem.replace(pid, str(number))))
    assert printed[0] == printed[1]
    assert len(list((tmp_path / "multiprom").glob("*_1.db"))) == 9
    written_by_child = len(list((tmp_path / "multiprom").glob("*_2.db")))
    assert written_by_child == (0 if action == "nothing" else 9)
    ours.assert_same_but_for_the_magic(tmp_path / "multiprom", tmp_path / "stock")


def test_a_metric_made_in_the_child_before_the_fork_was_noticed(directory: Path) -> None:
    """It belongs into the file of the child."""
    printed = run(
        """
        import os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values
        Counter("before", "Help").inc(5)
        made = multiprom.MultiProcessValue()
        parent = os.getpid()
        if os.fork() == 0:
            made("counter", "child", "child", (), (), "Help").inc(1)
            os._exit(0)
        child, status = os.wait()
        print(parent, child, status)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    parent, child, status = printed.split()
    assert status == "0"
    assert values_of(directory / f"counter_{parent}.db") == {"before_total": 5.0}
    found = values_of(directory / f"counter_{child}.db")
    assert found.pop("child") == 1.0
    assert found.get("before_total", 0.0) == 0.0


def test_children_of_children(directory: Path) -> None:
    printed = run(
        """
        import os, sys
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Gauge
        counter = Counter("n", "Help")
        gauge = Gauge("depth", "Help", multiprocess_mode="all")
        for depth in range(8):
            counter.inc(10 ** depth)
            gauge.set(depth)
            print(os.getpid(), flush=True)
            # Some generations touch nothing between two forks.
            for _ in range(depth % 3 + 1):
                child = os.fork()
                if child:
                    _, status = os.waitpid(child, 0)
                    os._exit(os.waitstatus_to_exitcode(status))
        print("done")
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    *pids, done = printed.splitlines()
    assert done == "done"
    assert len(set(pids)) == 8
    for depth, pid in enumerate(pids):
        assert values_of(directory / f"counter_{pid}.db") == {"n_total": 10.0**depth}
        assert values_of(directory / f"gauge_all_{pid}.db") == {"depth": float(depth)}
    assert len(list(directory.glob("*.db"))) == 16


def test_a_fork_while_values_are_made_and_dropped(directory: Path) -> None:
    """A series of the parent that was dropped need not be there; what is there is at zero."""
    printed = run(
        """
        import os
        import multiprom
        made = multiprom.MultiProcessValue()
        kept = made("counter", "kept", "kept", (), (), "Help")
        kept.inc(5)
        for number in range(1000):
            made("counter", "d", "d", ["l"], [str(number)], "Help").inc(5)
        if os.fork() == 0:
            kept.inc(1)
            # Made again, it is a new one.
            again = made("counter", "d", "d", ["l"], ["7"], "Help")
            again.inc(1)
            os._exit(0)
        child, status = os.wait()
        print(child, status)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    child, status = printed.split()
    assert status == "0"
    found = values_of(directory / f"counter_{child}.db")
    assert found.pop("kept") == 1.0
    assert found.pop("d 7") == 1.0
    assert set(found.values()) <= {0.0}


def test_values_closed_before_the_fork(directory: Path) -> None:
    """As a master does that wants to leave no files of its own."""
    printed = run(
        """
        import os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values
        counter = Counter("n", "Help")
        counter.inc(5)
        values.ValueClass.close_all_files()
        if os.fork() == 0:
            counter.inc(1)
            os._exit(0)
        child, status = os.wait()
        print(os.getpid(), child, status, counter._value.get())
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    parent, child, *rest = printed.split()
    assert rest == ["0", "5.0"]
    assert values_of(directory / f"counter_{parent}.db") == {"n_total": 5.0}
    assert values_of(directory / f"counter_{child}.db") == {"n_total": 1.0}


METHODS = ["fork", "forkserver", "spawn", "forkserver, preloaded"]

POOL = """
import multiprocessing, os, sys
from pool_app import work

if __name__ == "__main__":
    method, _, preloaded = sys.argv[1].partition(", ")
    context = multiprocessing.get_context(method)
    if preloaded:
        context.set_forkserver_preload(["pool_app"])
    work(5)
    with context.Pool(2, maxtasksperchild=2) as pool:
        pids = pool.map(work, [100] * 8, chunksize=1)
        pool.close()
        pool.join()
    processes = [context.Process(target=work, args=(1000,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    print(os.getpid(), *set(pids), *[process.pid for process in processes])
"""


@pytest.mark.parametrize("method", METHODS)
def test_each_process_counts(method: str, directory: Path) -> None:
    printed = run(POOL, method, PROMETHEUS_MULTIPROC_DIR=directory)
    own, *others = printed.split()
    assert len(others) >= 4
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found["tasks_total", ()] == 5 + 8 * 100 + 2 * 1000
    assert found["idle_total", (("why", "none"),)] == 0.0
    assert values_of(directory / f"counter_{own}.db") == {"tasks_total": 5.0, "idle_total none": 0}
    for pid in others:
        values = values_of(directory / f"counter_{pid}.db")
        assert values["tasks_total"] in {100.0, 200.0, 1000.0}
        assert values["idle_total none"] == 0.0
        assert magic(directory / f"counter_{pid}.db") == MAGIC
        assert values_of(directory / f"gauge_livesum_{pid}.db") == {"alive": 1.0}


# Identifiers of a program's own over a fork, some of which name several processes at once.

# Runs `child(number)` in three processes that are all alive at once.
TOGETHER = """
import os, pathlib, sys
import multiprom
from support.warned import messages
from prometheus_client import values

def together(child):
    for number in range(3):
        pipes.append((os.pipe(), os.pipe()))
        (ready, tell), (go, let_go) = pipes[-1]
        if os.fork() == 0:
            try:
                child(number)
                os.write(tell, b".")
                # Nobody goes before all have counted.
                os.read(go, 1)
                child(number)
                os._exit(0)
            finally:
                os._exit(1)
    for (ready, tell), _ in pipes:
        os.read(ready, 1)
    for _, (go, let_go) in pipes:
        os.write(let_go, b".")
    print({os.wait()[1] for _ in range(3)})

pipes = []
"""


def test_the_pid_of_the_parent(directory: Path) -> None:
    """All workers of a server have the same, and no byte of a file is torn."""
    script = """
made = multiprom.MultiProcessValue(os.getppid)
counter = made("counter", "n", "n_total", (), (), "Help")
counter.inc(1)

def child(number):
    for _ in range(1000):
        counter.inc(1)
    # One warning each, however many of the files are held.
    made("gauge", "g", "g", (), (), "Help", "max").set(number)
    made("summary", "s", "s", (), (), "Help").inc(1)
    assert len(messages) == (0 if not messages else 1), messages
    pathlib.Path(sys.argv[1], str(number)).write_text(str(len(messages)))

print(os.getppid(), os.getpid())
together(child)
"""
    warned = directory.parent / "warned"
    warned.mkdir()
    printed = run(TOGETHER + script, warned, PROMETHEUS_MULTIPROC_DIR=directory)
    grandparent, parent, status = printed.split()
    assert status == "{0}"
    assert values_of(directory / f"counter_{grandparent}.db") == {"n_total": 1.0}
    names = sorted(file.name for file in directory.glob(f"counter_{parent}*"))
    assert names == [f"counter_{parent}-{n}.db" for n in (1, 2)] + [f"counter_{parent}.db"]
    for name in names:
        assert values_of(directory / name) == {"n_total": 2000.0}
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found["n_total", ()] == 6001.0
    assert found["g", ()] == 2.0
    # The one that was first has nothing to tell.
    assert sorted(file.read_text() for file in warned.iterdir()) == ["0", "1", "1"]


def test_a_number_of_the_worker(directory: Path) -> None:
    """As uWSGI's: the same before and after a worker is replaced, and its file is continued."""
    script = """
number_of_worker = 0
made = multiprom.MultiProcessValue(lambda: number_of_worker)
counter = made("counter", "n", "n_total", (), (), "Help")
gauge = made("gauge", "g", "g", (), (), "Help", "livesum")
counter.inc(1)

def child(number):
    global number_of_worker
    number_of_worker = number + 1
    counter.inc(10)
    gauge.inc(1)

for _ in range(2):
    pipes.clear()
    together(child)
print(messages)
"""
    assert run(TOGETHER + script, PROMETHEUS_MULTIPROC_DIR=directory) == "{0}\n{0}\n[]\n"
    assert sorted(file.name for file in directory.glob("*.db")) == [
        *[f"counter_{number}.db" for number in range(4)],
        *[f"gauge_livesum_{number}.db" for number in range(4)],
    ]
    for number in (1, 2, 3):
        assert values_of(directory / f"counter_{number}.db") == {"n_total": 40.0}
        assert values_of(directory / f"gauge_livesum_{number}.db") == {"g": 2.0}


def test_an_identifier_that_does_not_change_with_a_fork(directory: Path) -> None:
    """The parent lives on and holds the file: the child gets one beside it, all at zero."""
    script = """
made = multiprom.MultiProcessValue(lambda: "w")
counter = made("counter", "n", "n_total", (), (), "Help")
idle = made("counter", "n", "idle", (), (), "Help")
counter.inc(5)
idle.inc(5)
together(lambda number: counter.inc(1))
counter.inc(1)
print(counter.get(), messages)
"""
    printed = run(TOGETHER + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "{0}\n6.0 []\n"
    assert {file.name: values_of(file) for file in directory.glob("*.db")} == {
        "counter_w.db": {"n_total": 6.0, "idle": 5.0},
        **{f"counter_w-{n}.db": {"n_total": 2.0, "idle": 0.0} for n in (1, 2, 3)},
    }
