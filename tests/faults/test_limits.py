"""The system refuses what a scrape needs: it does without, or fails, but gives no lower total."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from support.files import counter, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

# So many that several threads read them.
PROCESSES = 300

SCRAPES = """
import errno, glob, os, resource, sys
import multiprom
from prometheus_client import CollectorRegistry

directory = sys.argv[1]
files = sorted(glob.glob(directory + "/*.db"))
registry = CollectorRegistry()
collector = multiprom.MultiProcessCollector(registry, directory)

def text():
    return float(multiprom.generate_latest(registry).split()[-1])

def value(metrics):
    (metric,) = metrics
    return sum(sample.value for sample in metric.samples)

scrapes = [
    text,
    lambda: value(collector.collect()),
    lambda: value(collector.merge(files)),
    lambda: value(collector._read_metrics(files).values()),
]

def outcome(scrape):
    try:
        return scrape()
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@pytest.fixture(autouse=True)
def _files(directory: Path) -> None:
    directory.chmod(0o755)
    for pid in range(PROCESSES):
        write(directory / f"counter_{pid}.db", [counter(1)], size=0).chmod(0o644)


def test_no_more_files_can_be_opened(directory: Path) -> None:
    script = """
print({outcome(scrape) for scrape in scrapes})
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
print({outcome(scrape) for scrape in scrapes})
# One is enough for one thread, but not for several.
os.close(held.pop())
print({outcome(scrape) for scrape in scrapes * 10} - {300.0, "EMFILE"})
os.close(held.pop())
os.close(held.pop())
os.close(held.pop())
print({outcome(scrape) for scrape in scrapes})
print(multiprom.left_out())
"""
    assert run(SCRAPES + script, directory).splitlines() == [
        "{300.0}",
        "{'EMFILE'}",
        "set()",
        "{300.0}",
        "()",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads are not counted")
def test_no_more_threads_can_be_started(directory: Path) -> None:
    script = """
import threading
# Imported now: as somebody else we may not read the modules.
multiprom.generate_latest(registry)
# For the same reason from within.
os.chdir(directory)
if os.geteuid() == 0:
    # There is no such limit for root.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(error)
collector._path = "."
files = [os.path.basename(file) for file in files]
print({outcome(scrape) for scrape in scrapes}, multiprom.left_out())
"""
    assert run(SCRAPES + script, directory).splitlines() == ["can't start new thread", "{300.0} ()"]
