"""A child holds nothing of its parent's files: no descriptor, and so no lock.

The lock says who lives. One that a child inherited would keep the files of a dead parent from being
continued, or folded into an archive, for as long as the child lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.files import is_held
from support.interpreters import command, environment, run

if TYPE_CHECKING:
    from pathlib import Path

# The parent prints two pids and waits to be killed; its child waits for the end of stdin.
FAMILY = """
import os, sys, time
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge
counter = Counter("n", "Help")
gauge = Gauge("g", "Help", multiprocess_mode="livesum")
counter.inc(5)
gauge.set(5)
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    {action}
    os.write(tell, b".")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
print(os.getpid(), child, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(
    "action",
    ["counter.inc()", "counter._value.get()", "Gauge('new', '', multiprocess_mode='max')", "pass"],
)
def test_the_lock_goes_with_the_parent(action: str, directory: Path) -> None:
    with subprocess.Popen(
        command(FAMILY.format(action=action)),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, child = map(int, parent.stdout.readline().split())
        assert pid == parent.pid
        files = [directory / f"{kind}_{pid}.db" for kind in ("counter", "gauge_livesum")]
        assert [is_held(file) for file in files] == [True, True]
        parent.kill()
        # Not wait(), which lets go of stdin, and so of the child.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert [is_held(file) for file in files] == [False, False]
        # It lives, and holds what is its own.
        os.kill(child, 0)
        own = {file.name for file in directory.glob("*.db") if is_held(file)}
        assert all(name.endswith(f"_{child}.db") for name in own)
        assert (own == set()) == (action == "pass")
    assert parent.returncode == -signal.SIGKILL


def test_the_parent_keeps_its_lock_when_a_child_has_ended(directory: Path) -> None:
    """To unlock, and not to close, would take the lock from both."""
    printed = run(
        """
        import fcntl, os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, values
        counter = Counter("n", "Help")
        counter.inc(5)
        for action in (counter.inc, values.ValueClass.close_all_files, lambda: None):
            if os.fork() == 0:
                action()
                os._exit(0)
            assert os.wait()[1] == 0
            file = os.open(f"{os.environ['PROMETHEUS_MULTIPROC_DIR']}/counter_{os.getpid()}.db",
                           os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("held")
            os.close(file)
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "held\n" * 3


def test_no_descriptor_of_the_parents_files(directory: Path) -> None:
    printed = run(
        """
        import os
        import multiprom
        multiprom.install()
        from prometheus_client import Counter, Summary
        counter = Counter("n", "Help")
        summary = Summary("s", "Help")
        counter.inc(5)
        directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]

        def open_files():
            links = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink(f"/proc/self/fd/{name}"))
                except OSError:
                    pass
            return sorted(os.path.basename(link) for link in links
                          if directory in link and link.endswith(".db"))

        parent = os.getpid()
        if os.fork() == 0:
            print(open_files(), flush=True)
            counter.inc(1)
            pid = os.getpid()
            print(open_files() == [f"counter_{pid}.db", f"summary_{pid}.db"], flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
        print(open_files() == [f"counter_{parent}.db", f"summary_{parent}.db"])
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed.splitlines() == ["[]", "True", "True"]
