"""What `make bench-count` measures: the libraries, and the operations on the metrics of each.

Nothing here imports prometheus_client before the library is chosen.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

STOCK = "stock, multiprocess"
IN_MEMORY = "stock, in memory"
MULTIPROM = "multiprom"
LIBRARIES = (STOCK, IN_MEMORY, MULTIPROM)

INC = "`Counter.inc()`"
OBSERVE = "`Histogram.observe(0.3)`"
SET = "`Gauge.set(5)`"
NEW_SERIES = "a new series: `Counter.labels(…)`"
AFTER_FORK = "first `inc()` after a fork, 10,000 series"
OPERATIONS = (INC, OBSERVE, SET, NEW_SERIES, AFTER_FORK)

# How often an operation is done in one sample: some milliseconds for the slowest library.
REPETITIONS = 5_000
SERIES_PER_SAMPLE = 500
SERIES_BEFORE_FORK = 10_000

# Returns how many seconds the operation took.
Sample = Callable[[], float]


def use(library: str, directory: Path) -> None:
    """Let all metrics of this process count as `library` counts, in `directory` if in files."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if library == MULTIPROM:
        import multiprom

        multiprom.install(directory)
        return
    from prometheus_client import values

    if library == STOCK:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = values.MultiProcessValue()


def is_measured(library: str, operation: str) -> bool:
    """Say whether there is such a thing: in memory a fork changes nothing."""
    return (library, operation) != (IN_MEMORY, AFTER_FORK)


def sampler(operation: str) -> Sample:
    """Return what times an operation, on metrics of its own."""
    from prometheus_client import Counter, Gauge, Histogram

    if operation == NEW_SERIES:
        return _new_series
    if operation == AFTER_FORK:
        return _after_fork()
    if operation == INC:
        inc = Counter("shop_requests", "Requests answered.", registry=None).inc
        return lambda: _repeated(inc)
    if operation == OBSERVE:
        observe = Histogram("shop_latency", "Seconds to answer.", registry=None).observe
        return lambda: _repeated(functools.partial(observe, 0.3))
    change = Gauge("shop_workers", "Workers.", registry=None, multiprocess_mode="livesum").set
    return lambda: _repeated(functools.partial(change, 5))


def _repeated(operation: Callable[[], object]) -> float:
    times = itertools.repeat(None, REPETITIONS)
    before = time.perf_counter()
    for _ in times:
        operation()
    return (time.perf_counter() - before) / REPETITIONS


_families = itertools.count()


def _new_series() -> float:
    from prometheus_client import Counter

    # Ever new ones: the family before has been dropped, but stock keeps the values of all.
    name = f"shop_requests_{next(_families)}"
    labels = Counter(name, "Requests answered.", ("method", "endpoint"), registry=None).labels
    endpoints = [f"/api/v1/orders/{number}" for number in range(SERIES_PER_SAMPLE)]
    # What was dropped before is not to be collected in the time of these.
    gc.collect()
    before = time.perf_counter()
    for endpoint in endpoints:
        labels("GET", endpoint)
    return (time.perf_counter() - before) / SERIES_PER_SAMPLE


def _after_fork() -> Sample:
    from prometheus_client import Counter

    counter = Counter("shop_requests", "Requests answered.", ("method", "endpoint"), registry=None)
    children = [
        counter.labels("GET", f"/api/v1/orders/{number}") for number in range(SERIES_BEFORE_FORK)
    ]

    def sample() -> float:
        result, report = os.pipe()
        child = os.fork()
        if child == 0:
            before = time.perf_counter()
            children[0].inc()
            os.write(report, str(time.perf_counter() - before).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(report)
        seconds = float(os.read(result, 100))
        os.close(result)
        # Files of children that are gone must not fill the disk.
        for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"*_{child}.db"):
            file.unlink()
        return seconds

    return sample
