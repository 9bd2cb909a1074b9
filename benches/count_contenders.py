"""What `make bench-count` measures: the libraries, and the operations on the metrics of each.

Nothing here imports prometheus_client before the library is chosen.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import time
import timeit
from collections.abc import Callable
from pathlib import Path

STOCK = "stock, multiprocess"
IN_MEMORY = "stock, in memory"
MULTIPROM = "multiprom"
LIBRARIES = (STOCK, IN_MEMORY, MULTIPROM)

# What programs write, as Python statements: see `_metrics` for the names.
STATEMENTS = {
    "`counter.labels(a, b, c).inc()`": "counters.labels('GET', '/api', '200').inc()",
    "the same, by keywords": "counters.labels(method='GET', path='/api', code='200').inc()",
    "the same, with a number": "counters.labels('GET', '/api', 200).inc()",
    "`histogram.labels(a, b).observe(0.3)`": "histograms.labels('GET', '/api').observe(0.3)",
    "`counter.inc()`": "counter.inc()",
    "`gauge.set(5)`": "gauge.set(5)",
    "`gauge.set(5)`, `mostrecent`": "recent.set(5)",
    "`summary.observe(0.3)`": "summary.observe(0.3)",
    "`histogram.observe(0.3)`": "histogram.observe(0.3)",
    "the same, 500 buckets, the last but ten": "fine.observe(490.5)",
    "`counter.inc(1, exemplar=…)`": "counter.inc(1, exemplar=trace)",
    "`histogram.observe(0.3, …)`, with an exemplar": "histogram.observe(0.3, trace)",
    "`with histogram.time()`": "with histogram.time(): pass",
    "`@histogram.time()`": "timed()",
    "`with gauge.track_inprogress()`": "with gauge.track_inprogress(): pass",
}
NEW_SERIES = "a new series: `Counter.labels(…)`"
NEW_HISTOGRAM = "a new child of a histogram, 15 buckets"
REMOVED_SERIES = "`Counter.remove(…)`"
AFTER_FORK = "first `inc()` after a fork, 10,000 series"
OPERATIONS = (*STATEMENTS, NEW_SERIES, NEW_HISTOGRAM, REMOVED_SERIES, AFTER_FORK)

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

        # Without a limit multiprom warns of a metric with 10,000 label sets.
        os.environ["MULTIPROM_SERIES_LIMIT"] = "1000000"
        multiprom.install(directory)
        return
    from prometheus_client import values

    if library == STOCK:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = values.MultiProcessValue()


def is_measured(library: str, operation: str) -> bool:
    """Say whether there is such a thing.

    In memory a fork changes nothing, and stock's files keep what is removed.
    """
    return (library, operation) not in {(IN_MEMORY, AFTER_FORK), (STOCK, REMOVED_SERIES)}


def sampler(operation: str) -> Sample:
    """Return what times an operation, on metrics of its own."""
    if operation in (NEW_SERIES, NEW_HISTOGRAM, REMOVED_SERIES):
        return functools.partial(_series, operation)
    if operation == AFTER_FORK:
        return _after_fork()
    timer = timeit.Timer(STATEMENTS[operation], globals=_metrics())
    return lambda: timer.timeit(REPETITIONS) / REPETITIONS


def _metrics() -> dict[str, object]:
    """Return the metrics that the statements name."""
    from prometheus_client import Counter, Gauge, Histogram, Summary

    histogram = Histogram("shop_latency", "Seconds to answer.", registry=None)

    @histogram.time()
    def timed() -> None:
        pass

    help_text, labels = "Requests answered.", ("method", "path")
    return {
        "counters": Counter("shop_requests", help_text, (*labels, "code"), registry=None),
        "histograms": Histogram("shop_seconds", help_text, labels, registry=None),
        "counter": Counter("shop_answers", help_text, registry=None),
        "gauge": Gauge("shop_workers", "Workers.", registry=None, multiprocess_mode="livesum"),
        "recent": Gauge("shop_queue", "Jobs.", registry=None, multiprocess_mode="mostrecent"),
        "summary": Summary("shop_bytes", "Bytes sent.", registry=None),
        "histogram": histogram,
        "fine": Histogram("shop_fine", "Seconds.", buckets=range(500), registry=None),
        "timed": timed,
        "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
    }


_families = itertools.count()


def _series(operation: str) -> float:
    from prometheus_client import Counter, Histogram

    # Ever new ones: the family before has been dropped, but stock keeps the values of all.
    name = f"shop_requests_{next(_families)}"
    kind = Histogram if operation == NEW_HISTOGRAM else Counter
    metric = kind(name, "Requests answered.", ("method", "endpoint"), registry=None)
    endpoints = [f"/api/v1/orders/{number}" for number in range(SERIES_PER_SAMPLE)]
    # What was dropped before is not to be collected in the time of these.
    gc.collect()
    before = time.perf_counter()
    for endpoint in endpoints:
        metric.labels("GET", endpoint)
    made = time.perf_counter()
    if operation != REMOVED_SERIES:
        return (made - before) / SERIES_PER_SAMPLE
    for endpoint in endpoints:
        metric.remove("GET", endpoint)
    return (time.perf_counter() - made) / SERIES_PER_SAMPLE


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
