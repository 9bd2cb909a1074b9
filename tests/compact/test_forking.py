"""Two applications that fork for each task, without any hook, beside scrapes and compactions.

Each child counts and ends; half of them are killed at any moment of a compaction. Everybody knows
what has been counted, so no scrape may give less than was counted before it, or more than can be.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import stock
from support.amounts import sum_of
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATIONS = 2
DEATHS = 1000
SCRAPES = 50
# A directory in memory, beside the one on the disk.
MEMORY = Path("/dev/shm")

SCRIPT = """
import json, math, os, random, select, signal, sys, time
from multiprom import _core
# At each occasion.
_core.reset_compaction(sweep_seconds=0)
import multiprom
multiprom.install()
from prometheus_client import Counter, Histogram
from support.amounts import amounts, sum_of
from support.warned import messages

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
applications, deaths, enough = map(int, sys.argv[1:])
counter = Counter("n", "Help")
# Kinds are folded one after another, so that there are archives that lag behind.
histogram = Histogram("h", "Help", buckets=[1])

def say(what):
    # At once, as another process may say something too.
    os.write(1, (json.dumps(what) + "\\n").encode())

def files():
    return sum(name.endswith(".db") for name in os.listdir(directory))

def fork(act, *arguments):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act(*arguments)
            assert messages == [], messages
            status = 0
        finally:
            os._exit(status)
    return pid

def task(number, tell):
    for amount in amounts(number):
        counter.inc(amount)
        histogram.observe(amount)
    os.write(tell, b".")
    if number % 2:
        while True:
            multiprom.compact(directory, timeout=0)
    multiprom.compact(directory, timeout=0)

def application(number, tell_total):
    dice = random.Random(number)
    most = 0
    for number in range(number, deaths, applications):
        told, tell = os.pipe()
        pid = fork(task, number, tell)
        os.close(tell)
        assert os.read(told, 1) == b"."
        os.close(told)
        os.write(tell_total, b"%d\\n" % number)
        if number % 2:
            time.sleep(dice.uniform(0, 0.01))
            os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == (signal.SIGKILL if number % 2 else 0)
        most = max(most, files())
    say(most)

def scraper(stop):
    os.close(end)
    os.close(tell)
    last = (0.0, 0.0, 0.0)
    scrapes = 0
    collector = multiprom.MultiProcessCollector(None)
    while scrapes < enough or not select.select([stop], [], [], 0)[0]:
        found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
        now = (found["n_total"], found["h_sum"], found["h_count"])
        assert all(new >= old for new, old in zip(now, last)), (last, now)
        last = now
        scrapes += 1
    # Whoever looks at the end sees the end.
    say([scrapes, *last])

told, tell = os.pipe()
stop, end = os.pipe()
scrapers = [fork(scraper, stop) for _ in range(2)]
pids = [fork(application, number, tell) for number in range(applications)]
os.close(tell)
# Here everybody is asked for what was counted for certain: at least that, and nothing twice.
collector = multiprom.MultiProcessCollector(None)
counted = []
with os.fdopen(told) as numbers:
    for line in numbers:
        counted.append(sum_of(int(line)))
        found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
        assert found["n_total"] >= math.fsum(counted), (found, counted)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * applications
os.write(end, b".")
assert [os.waitpid(pid, 0)[1] for pid in scrapers] == [0, 0]
assert messages == [], messages
"""


@pytest.fixture(params=["disk", *(["memory"] if MEMORY.is_dir() else [])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="multiprom-test-", dir=MEMORY))
    yield path
    shutil.rmtree(path)


def total(directory: Path, collector_class: type) -> dict[str, float]:
    collector = collector_class(CollectorRegistry(), str(directory))
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}


def test_a_thousand_deaths(place: Path) -> None:
    out = run(
        SCRIPT,
        str(APPLICATIONS),
        str(DEATHS),
        str(SCRAPES),
        seconds=110,
        MULTIPROM_COMPACTION="on",
        PROMETHEUS_MULTIPROC_DIR=place,
    )
    printed: list[Any] = [json.loads(line) for line in out.splitlines()]
    scrapes = [found for found in printed if isinstance(found, list)]
    most_of_one, most_of_other = (found for found in printed if isinstance(found, int))
    truth = math.fsum(map(sum_of, range(DEATHS)))
    expected: list[Any] = [truth, truth, DEATHS * 2]
    found = total(place, multiprom.MultiProcessCollector)
    assert [found[name] for name in ("n_total", "h_sum", "h_count")] == expected
    for times, *last in scrapes:
        assert times >= SCRAPES
        assert all(value <= end for value, end in zip(last, expected, strict=True))
    # Two for each process that lives or was not swept yet: more on a busy machine, where sweeps
    # wait for each other. Without them it would be 2,000.
    assert max(most_of_one, most_of_other) <= 200
    multiprom.compact(place)
    assert total(place, multiprom.MultiProcessCollector) == found
    assert total(place, stock.MultiProcessCollector) == pytest.approx(found, rel=1e-15)
    names = {path.name for path in place.glob("*.db")}
    assert names == {"counter_compacted.db", "histogram_compacted.db"}
