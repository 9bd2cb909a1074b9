"""Identifiers that come again while their old files are folded, as uWSGI counts its workers from 1.

A new worker opens its file in any window of a folding: before it is locked, while it is read,
between the new archive and the deletion, or after a compaction that was killed there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import multiprom
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 3
GENERATIONS = 300
SCRIPT = """
import glob, json, os, random, signal, sys, time
import multiprom
from prometheus_client import Counter, Gauge, values
from support.warned import messages

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
workers, generations = map(int, sys.argv[1:])

def fork(act, *arguments):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act(*arguments)
            # No name had to be left to another process, such as a compaction.
            assert messages == [], messages
            status = 0
        finally:
            os._exit(status)
    return pid

def work(worker, number):
    values.ValueClass = multiprom.MultiProcessValue(lambda: worker)
    Counter("n", "Help").inc(number)
    Gauge("g", "Help", multiprocess_mode="max").set(number)
    Gauge("s", "Help", multiprocess_mode="livesum").set(1)

def series(worker):
    # The next begins as soon as its predecessor has ended.
    for number in range(1, generations + 1):
        pid = fork(work, worker, number)
        assert os.waitpid(pid, 0)[1] == 0

def compactor(must_end):
    dice = random.Random(must_end)
    while os.getppid() == parent:
        pid = fork(compact)
        time.sleep(dice.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

def compact():
    while True:
        multiprom.compact()

parent = os.getpid()
compactors = [fork(compactor, number) for number in range(2)]
running = {fork(series, worker) for worker in range(workers)}
collector = multiprom.MultiProcessCollector(None)
last = 0
scrapes = 0
while running:
    pid, status = os.waitpid(-1, os.WNOHANG)
    assert status == 0
    running.discard(pid)
    total = {s.name: s.value for m in collector.collect() for s in m.samples}.get("n_total", 0)
    assert total >= last, (last, total)
    last = total
    scrapes += 1
multiprom.compact()
found = {s.name: s.value for m in collector.collect() for s in m.samples}
print(json.dumps([scrapes, found, sorted(glob.glob("*.db", root_dir=directory))]))
"""


def test_nothing_is_lost_or_counted_twice(directory: Path) -> None:
    out = run(
        SCRIPT,
        str(WORKERS),
        str(GENERATIONS),
        seconds=110,
        MULTIPROM_COMPACTION="on",
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    scrapes, found, names = json.loads(out)
    total = WORKERS * GENERATIONS * (GENERATIONS + 1) / 2
    assert found["n_total"] == total
    assert found["g"] == GENERATIONS
    assert scrapes > 100
    # The compactors end by themselves, and may be at work still.
    multiprom.compact(directory)
    archives = {"counter_compacted.db", "gauge_max_compacted.db"}
    assert archives <= set(names)
    (collected,) = (
        sample.value
        for metric in multiprom.MultiProcessCollector(None, directory).collect()
        for sample in metric.samples
        if sample.name == "n_total"
    )
    assert collected == total
