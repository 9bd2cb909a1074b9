"""Processes that become another program, go on as daemons, or end without a word.

Each count is there once, and nothing stays locked after the last process has ended: the files can
be folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

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
except ImportError:
    import _xxsubinterpreters as _interpreters
inner = _interpreters.create()
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
