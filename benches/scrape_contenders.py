"""The libraries that `make bench` compares, each behind the same two calls."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

STOCK = "prometheus_client"
SPEEDUPS = "prometheus-client-python-speedups"
MULTIPROM = "multiprom"
# In a process that may use one core only, multiprom starts no threads.
ONE_THREAD = "multiprom, one core"
LIBRARIES = (STOCK, SPEEDUPS, MULTIPROM, ONE_THREAD)


class Collector(Protocol):
    """What a registry holds."""

    def collect(self) -> Iterable[Metric]:
        """Return the families of the directory."""


@dataclass(frozen=True)
class Contender:
    """One library as a /metrics handler would use it on one directory."""

    make: Callable[[CollectorRegistry], Collector]
    generate: Callable[[CollectorRegistry], bytes]

    def collect(self) -> None:
        """Scrape into Python objects."""
        for _ in self.make(CollectorRegistry()).collect():
            pass

    def text(self) -> bytes:
        """Scrape into the text that Prometheus reads."""
        registry = CollectorRegistry()
        self.make(registry)
        return self.generate(registry)


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
    )


def _stay_on_one_core() -> None:
    if sys.platform != "linux":
        raise ImportError("a process can be kept on one core on Linux only")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def stock_by_name(directory: Path) -> Contender:
    """Return stock's merge over the files in name order, which fixes the order of its text."""
    return Contender(lambda registry: _SortedCollector(registry, str(directory)), generate_latest)
