"""Whatever processes count and remove, and whenever they die: each scrape is what a model says.

The model of a kind of metric: each process has its own series, and the archive has what the dead
had. A process that removes a series withdraws its own. The next compaction, which each scrape
begins with, folds the dead, and takes the series out of the archive unless a living process has it.
One that has begun the series anew meanwhile does not keep it there.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
from hypothesis import given
from hypothesis import strategies as st
from multiprom import _core
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector as StockCollector
from support import stock

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = st.sampled_from("abc")
PROCESSES = st.integers(0, 2)
AMOUNTS = st.integers(0, 9)
OPERATIONS = st.one_of(
    st.tuples(st.just("count"), PROCESSES, LABELS, AMOUNTS),
    st.tuples(st.just("remove"), PROCESSES, LABELS),
    st.tuples(st.just("clear"), PROCESSES),
    st.tuples(st.just("die"), PROCESSES),
    st.tuples(st.just("fold")),
    st.tuples(st.just("scrape")),
)


class Model:
    """What the files of one kind hold."""

    def __init__(self, merge: Callable[[float, float], float]) -> None:
        self.merge = merge
        self.own: dict[str, dict[str, float]] = {}
        self.withdrawn: dict[str, set[str]] = {}
        self.dead: set[str] = set()
        self.archive: dict[str, float] = {}

    def begin(self, process: str) -> None:
        self.own[process], self.withdrawn[process] = {}, set()

    def remove(self, process: str, label: str) -> None:
        if self.own[process].pop(label, None) is not None:
            self.withdrawn[process].add(label)

    def fold(self) -> None:
        withdrawn = set().union(*self.withdrawn.values())
        for process in sorted(self.dead):
            for label, value in self.own.pop(process).items():
                known = self.archive.get(label)
                self.archive[label] = value if known is None else self.merge(known, value)
        self.dead.clear()
        for label in withdrawn:
            holders = [
                process
                for process, series in self.own.items()
                if label in series and label not in self.withdrawn[process]
            ]
            if not holders:
                self.archive.pop(label, None)
        self.withdrawn = {process: set() for process in self.own}

    def scrape(self) -> dict[str, float]:
        self.fold()
        merged = dict(self.archive)
        for series in self.own.values():
            for label, value in series.items():
                merged[label] = self.merge(merged[label], value) if label in merged else value
        return merged


class Process:
    """A process: a value class of its own, and its metrics."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.value_class: Any = multiprom.MultiProcessValue(lambda: identifier)
        arguments: Any = {"labelnames": ["x"], "registry": None}
        self.counter = Counter("c", "Help", **arguments)
        self.largest = Gauge("g", "Help", multiprocess_mode="max", **arguments)
        self.histogram = Histogram("h", "Help", buckets=(5.0,), **arguments)

    def metrics(self) -> tuple[Any, ...]:
        return (self.counter, self.largest, self.histogram)

    def count(self, label: str, amount: int) -> None:
        with mock.patch.object(values, "ValueClass", self.value_class):
            self.counter.labels(label).inc(amount)
            self.largest.labels(label).set(amount)
            self.histogram.labels(label).observe(amount)

    def die(self) -> None:
        self.value_class._value_class.end()


def samples(collector: Any, name: str) -> dict[str, float]:
    found = [sample for metric in collector.collect() for sample in metric.samples]
    return {
        sample.labels["x"]: sample.value
        for sample in found
        if sample.name == name and sample.labels.get("le", "+Inf") == "+Inf"
    }


class Players:
    """The processes of one directory, and what the models say of them."""

    # The sample that shows each kind.
    NAMES = ("c_total", "g", "h_bucket")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.models = [Model(float.__add__), Model(max), Model(float.__add__)]
        self.lives = 0
        self.processes: dict[int, Process] = {}

    def process(self, place: int) -> Process:
        if place not in self.processes:
            self.lives += 1
            self.processes[place] = Process(str(self.lives))
            for model in self.models:
                model.begin(str(self.lives))
        return self.processes[place]

    def count(self, place: int, label: str, amount: int) -> None:
        process = self.process(place)
        process.count(label, amount)
        for model, added in zip(self.models, (amount, None, 1), strict=True):
            own = model.own[process.identifier]
            own[label] = float(amount) if added is None else own.get(label, 0.0) + added

    def remove(self, place: int, label: str) -> None:
        process = self.process(place)
        for metric, model in zip(process.metrics(), self.models, strict=True):
            metric.remove(label)
            model.remove(process.identifier, label)

    def clear(self, place: int) -> None:
        process = self.process(place)
        for metric, model in zip(process.metrics(), self.models, strict=True):
            metric.clear()
            for label in list(model.own[process.identifier]):
                model.remove(process.identifier, label)

    def die(self, place: int) -> None:
        process = self.processes.pop(place, None)
        if process is not None:
            process.die()
            for model in self.models:
                model.dead.add(process.identifier)

    def fold(self) -> None:
        multiprom.compact(self.directory)
        for model in self.models:
            model.fold()

    def scrape(self) -> None:
        collector = multiprom.MultiProcessCollector(None, self.directory)
        expected = [model.scrape() for model in self.models]
        assert [samples(collector, name) for name in self.NAMES] == expected
        # prometheus_client sees what is there, and 0 in place of what was withdrawn.
        theirs = samples(StockCollector(CollectorRegistry(), self.directory), "c_total")
        assert nonzero(theirs) == nonzero(expected[0])


def nonzero(found: dict[str, float]) -> dict[str, float]:
    return {label: value for label, value in found.items() if value}


def play(directory: str, operations: list[tuple[Any, ...]]) -> None:
    players = Players(directory)
    for name, *arguments in [*operations, ("scrape",)]:
        getattr(players, name)(*arguments)
    for place in list(players.processes):
        players.die(place)


@given(operations=st.lists(OPERATIONS, min_size=1, max_size=30))
def test_scrapes_are_those_of_the_model(operations: list[tuple[Any, ...]]) -> None:
    _core.install_methods(counting=True)
    _core.reset_compaction(sweep_seconds=0)
    try:
        with tempfile.TemporaryDirectory() as directory:
            variables = {"PROMETHEUS_MULTIPROC_DIR": directory, "MULTIPROM_COMPACTION": "on"}
            with stock.closing(), mock.patch.dict(os.environ, variables):
                play(directory, operations)
    finally:
        _core.reset_compaction()
        _core.remove_methods()
