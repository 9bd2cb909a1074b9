"""Identifiers of a program's own over a fork, some of which name several processes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
from support.equality import samples
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

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
    """Faults 15 (868): all workers of a server have the same, and no byte of a file is torn."""
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
