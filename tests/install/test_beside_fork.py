"""A fork while another thread installs: the child has no such thread, and counts all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_stock", [False, True], ids=["in memory", "in files"])
def test_the_child_counts(is_stock: bool, directory: Path) -> None:
    script = """
import os, sys, threading, warnings
from support.suspended import Amount, Stop
from prometheus_client import Counter
import multiprom
warnings.simplefilter("ignore", DeprecationWarning)
counter = Counter("n", "Help")
counter.inc(5)
value = counter._value
stop = Stop()
thread = stop.start(value.inc, Amount(1, stop.come_by))
installing = threading.Thread(target=multiprom.install, args=[sys.argv[1]])
installing.start()
while "inc" not in vars(value):
    pass
counter.inc(10)
pid = os.fork()
if pid == 0:
    counter.inc(7)
    os._exit(counter._value.get() != 7.0)
print(os.waitpid(pid, 0)[1], os.getpid(), pid)
stop.let_go_on()
thread.join()
installing.join()
sys.stdout.flush()
os._exit(0)
"""
    printed = (
        run(script, directory, PROMETHEUS_MULTIPROC_DIR=directory)
        if is_stock
        else run(script, directory)
    )
    status, parent, child = printed.split()
    assert status == "0"
    assert values_of(directory / f"counter_{child}.db") == {"n_total": 7.0}
    assert values_of(directory / f"counter_{parent}.db") == {"n_total": 16.0}
