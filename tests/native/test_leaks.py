"""Random operations in threads, while classes, objects and children are patched and exchanged.

Nothing crashes, no count is lost, and no object is kept that nobody has any more. The number of
operations is MULTIPROM_OPERATIONS, 200,000 without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = int(os.environ.get("MULTIPROM_OPERATIONS", "200000"))

SCRIPT = """
import gc, random, sys, threading, warnings
from unittest import mock
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram, Summary, values
warnings.simplefilter("ignore", UserWarning)

operations = int(sys.argv[1])
THREADS = 4
AMOUNTS = (1, 2.0, 0.25, True, "x", None, 2**70, -1, float("nan"))
LABELS = ("a", "b", 1, None, 2.5, b"c", [], object())
# Of a class that nobody patches.
stable = Gauge("stable", "Help", ["label"], multiprocess_mode="sum", registry=None)
counters = Counter("c", "Help", ["x", "y"], registry=None)
gauges = Gauge("g", "Help", ["x", "y"], multiprocess_mode="mostrecent", registry=None)
sums = Gauge("t", "Help", multiprocess_mode="sum", registry=None)
histograms = Histogram("h", "Help", ["x", "y"], registry=None)
summaries = Summary("s", "Help", registry=None)
spare = [Histogram(f"h{n}", "Help", registry=None) for n in range(2)]


def labels(random, metric):
    names = random.choice([("x", "y"), ("y", "x"), ("x",), ("x", "z")])
    if random.random() < 0.5:
        return metric.labels(*random.choices(LABELS, k=len(names)))
    return metric.labels(**{name: random.choice(LABELS) for name in names})

def count(random):
    amount = random.choice(AMOUNTS)
    which = random.randrange(8)
    if which == 0:
        labels(random, counters).inc(amount, random.choice([None, {"trace": "1"}, {}]))
    elif which == 1:
        labels(random, gauges).set(amount)
    elif which == 2:
        labels(random, histograms).observe(amount)
    elif which == 3:
        summaries.observe(amount)
    elif which == 4:
        with histograms.labels("t", "u").time(), sums.track_inprogress():
            pass
    elif which == 5:
        random.choice(spare).observe(amount)
    elif which == 6:
        sums.inc(random.choice([1, amount]))
    else:
        counters.labels(x="a", y="b").inc(amount=amount)

def disturb(random):
    which = random.randrange(7)
    if which == 0:
        with mock.patch.object(Counter, "inc", lambda *_: None):
            count(random)
    elif which == 1:
        with mock.patch.object(counters.labels("a", "b"), "_value", values.MutexValue(*"abcdef")):
            count(random)
    elif which == 2:
        random.choice([counters, gauges, histograms]).clear()
    elif which == 3:
        counters.remove("a", "b")
    elif which == 4:
        first, second = spare
        first._sum, first._buckets, second._sum, second._buckets = (
            second._sum, second._buckets, first._sum, first._buckets)
    elif which == 5:
        value = Summary("other", "Help", registry=None)
        summaries._sum, summaries._count = value._sum, value._count
        value._sum.anything = value
    else:
        multiprom.install()

def work(seed, number, results):
    source = random.Random(seed)
    child = stable.labels("child")
    counted = 0
    for step in range(number):
        stable.labels("child").inc()
        child.inc(2)
        counted += 3
        try:
            (disturb if step % 50 == 0 else count)(source)
        except (TypeError, ValueError, OverflowError, RuntimeError, AttributeError, KeyError):
            pass
    results.append(counted)

def round_of(operations, seed):
    results = []
    threads = [
        threading.Thread(target=work, args=(seed + n, operations // THREADS, results))
        for n in range(THREADS)
    ]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    for metric in (counters, gauges, histograms): metric.clear()
    gc.collect()
    return sum(results)

watched = [None, 1, "child", "a", stable, stable.labels("child"), Counter.inc, 0.25, summaries]
def references():
    return [sys.getrefcount(item) for item in watched]

# The first round makes what is made once.
total = round_of(2000, 0)
before, blocks = references(), sys.getallocatedblocks()
total += round_of(operations, 100)
after, grown = references(), sys.getallocatedblocks() - blocks
value = stable.labels("child")._value.get()
print("lost" if value != total else "all", max(b - a for a, b in zip(before, after)), grown)
"""


@pytest.mark.timeout(60 + OPERATIONS // 1000)
def test_random_operations_in_threads(directory: Path) -> None:
    printed = run(
        SCRIPT,
        str(OPERATIONS),
        seconds=60 + OPERATIONS / 1000,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    counts, references, blocks = printed.split()
    assert counts == "all"
    # One object or reference a hundred operations would be thousands.
    assert int(references) < 200
    assert int(blocks) < 2000


def test_errors_that_are_passed_over_are_freed(tmp_path: Path) -> None:
    printed = run(
        """
        import contextlib, gc
        import multiprom
        multiprom.install()
        from prometheus_client import Counter
        counter = Counter("c", "Help", ["label"])
        multiprom.limit_series(counter, 1)
        for _ in range(1000):
            with contextlib.suppress(ValueError):
                counter.labels(other="x")
        print(sum(type(found) is ValueError for found in gc.get_objects()))
        """,
        PROMETHEUS_MULTIPROC_DIR=tmp_path,
    )
    assert printed == "0\n"
