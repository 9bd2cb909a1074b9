"""A process is killed while it compacts in a thread and has just forked.

The child has copies of its descriptors, and a lock lasts as long as one copy of it is open.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import multiprom
from support import files
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import fcntl, os, signal, sys, threading, time
import multiprom

directory = sys.argv[1]
lock = os.open(os.path.join(directory, ".multiprom.lock"), os.O_RDONLY)

def is_locked():
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False

def fork(act):
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(1)
    return pid

def parent():
    # Compacted again and again: so often it is at work in one of the moments that follow.
    def compact():
        while True:
            multiprom.compact(directory, pids=[1, 2])
    threading.Thread(target=compact, daemon=True).start()
    while not is_locked():
        pass
    fork(child)
    os.kill(os.getpid(), signal.SIGKILL)

def child():
    os.write(tell, b"%d" % os.getpid())
    os.close(tell)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(60)

told, tell = os.pipe()
assert os.waitpid(fork(parent), 0)[1] == signal.SIGKILL
print(os.read(told, 100).decode())
"""


def test_the_child_keeps_no_lock(tmp_path: Path) -> None:
    for pid in (1, 2):
        entries = [files.counter(1, path=str(number)) for number in range(30_000)]
        path = files.write(tmp_path / f"counter_{pid}.db", entries)
        # Written by multiprom, so that it is locked while it is folded.
        with path.open("r+b") as file:
            file.seek(4)
            file.write(files.MAGIC)
    (tmp_path / ".multiprom.lock").touch()
    child = int(run(SCRIPT, tmp_path))
    try:
        done = multiprom.compact(tmp_path)
        assert not done.busy
        assert done.left_alone == ()
        assert {path.name for path in tmp_path.iterdir()} == {
            ".multiprom.lock",
            "counter_compacted.db",
        }
    finally:
        os.kill(child, signal.SIGKILL)
