"""The libraries that `make bench` compares, each behind the same two calls."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from wsgiref.util import setup_testing_defaults

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

STOCK = "prometheus_client"
SPEEDUPS = "prometheus-client-python-speedups"
MULTIPROM = "multiprom"
# In a process that may use one core only, multiprom starts no threads.
ONE_THREAD = "multiprom, one core"
LIBRARIES = (STOCK, SPEEDUPS, MULTIPROM, ONE_THREAD)

# What Prometheus 3 sends if nothing is configured: see `acceptHeader` in its scrape.go.
PROMETHEUS_HEADERS = {
    "HTTP_ACCEPT": (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ),
    "HTTP_ACCEPT_ENCODING": "gzip",
    "HTTP_USER_AGENT": "Prometheus/3.5.0",
    "HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS": "10",
}


class Collector(Protocol):
    """What a registry holds."""

    def collect(self) -> Iterable[Metric]:
        """Return the families of the directory."""


@dataclass(frozen=True)
class Contender:
    """One library as a /metrics handler would use it on one directory."""

    make: Callable[[CollectorRegistry], Collector]
    generate: Callable[[CollectorRegistry], bytes]
    make_app: Callable[[CollectorRegistry], Any] = make_wsgi_app

    def collect(self) -> None:
        """Scrape into Python objects."""
        for _ in self.make(CollectorRegistry()).collect():
            pass

    def text(self) -> bytes:
        """Scrape into the text that Prometheus reads."""
        registry = CollectorRegistry()
        self.make(registry)
        return self.generate(registry)

    def request(self) -> bytes:
        """Answer a request of Prometheus."""
        registry = CollectorRegistry()
        self.make(registry)
        environ = dict(PROMETHEUS_HEADERS, PATH_INFO="/metrics")
        setup_testing_defaults(environ)
        return b"".join(self.make_app(registry)(environ, lambda *_: None))


class _SpeedupsCollector(MultiProcessCollector):
    """The speedups package in place of prometheus_client's merge.

    The package has one function, `merge(files)`, and returns objects of its own that no
    registry understands, so they are copied into prometheus_client's.
    """

    def collect(self) -> Iterable[Metric]:
        from prometheus_client_python_speedups import merge

        for family in merge(glob.glob(f"{self._path}/*.db")):  # noqa: PTH207 -- as stock does
            metric = Metric(family.name, family.documentation, family.typ)
            metric.samples = [Sample(s.name, s.labels, s.value) for s in family.samples]
            yield metric


class _SortedCollector(MultiProcessCollector):
    """Stock's collector, taking the files by name and not as the directory has them."""

    def collect(self) -> Iterable[Metric]:
        files = sorted(glob.glob(f"{self._path}/*.db"))  # noqa: PTH207 -- as stock does
        families: Iterable[Metric] = self.merge(files, accumulate=True)
        return families


def contender(library: str, directory: Path) -> Contender:
    """Return the library at work on `directory`; ImportError if it is not installed."""
    path = str(directory)
    if library == STOCK:
        return Contender(lambda registry: MultiProcessCollector(registry, path), generate_latest)
    if library == SPEEDUPS:
        import prometheus_client_python_speedups  # noqa: F401 -- fail now, not at the scrape

        return Contender(lambda registry: _SpeedupsCollector(registry, path), generate_latest)
    if library == ONE_THREAD:
        _stay_on_one_core()
    import multiprom

    return Contender(
        lambda registry: multiprom.MultiProcessCollector(registry, path),
        multiprom.generate_latest,
        multiprom.make_wsgi_app,
    )


def _stay_on_one_core() -> None:
    if sys.platform != "linux":
        raise ImportError("a process can be kept on one core on Linux only")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def stock_by_name(directory: Path) -> Contender:
    """Return stock's merge over the files in name order, which fixes the order of its text."""
    return Contender(lambda registry: _SortedCollector(registry, str(directory)), generate_latest)
