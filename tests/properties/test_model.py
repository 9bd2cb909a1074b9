"""Whatever processes make, count and remove, and whenever they die: scrapes are a model's.

The model has for each kind of metric the series of each process, and what the dead have left. A
process that removes a series withdraws its own. A compaction folds the dead, and then forgets what
they have left of a series that was withdrawn, unless a process has it that has not withdrawn it.
Exemplars are those of files: they go with what is withdrawn, and with the files of the dead.
"""

from __future__ import annotations

import itertools
import operator
import os
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
from hypothesis import example, given
from hypothesis import strategies as st
from multiprom import _core
from multiprom.exposition import openmetrics_latest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    values,
)
from prometheus_client.samples import Exemplar
from support import stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# The value of a series: what is added up or compared.
State = tuple[float, ...]
# The name of a sample, the label of its series, its other label (the bound of a bucket, what an
# Info or Enum says) and its process.
Place = tuple[str, str, str, str]

ARGUMENTS: Any = {"documentation": "Help", "labelnames": ["x"], "registry": None}
BOUNDS = (5.0, float("inf"))


@dataclass(frozen=True)
class Kind:
    """A kind of metric: how it counts, how values of processes become one, what is shown."""

    make: Callable[[], Any]
    count: Callable[..., None]
    begin: State
    counted: Callable[[State, int], State]
    merged: Callable[[State, State], State]
    # The values, by name of the sample and other label.
    shown: Callable[[State], dict[tuple[str, str], float]]
    # What becomes of the series of the dead: they stay, are in an archive, or are gone.
    of_dead: str = "archived"
    # The name of the sample and the other label that an exemplar of this amount belongs to.
    exemplified: Callable[[int], tuple[str, str]] | None = None


def added(one: State, other: State) -> State:
    return tuple(map(operator.add, one, other))


def observed(state: State, amount: int) -> State:
    below = (float(amount <= bound) for bound in BOUNDS)
    return added(state, (*below, float(amount)))


def buckets(state: State) -> dict[tuple[str, str], float]:
    below_five, count, total = state
    return {
        ("h_bucket", "5.0"): below_five,
        ("h_bucket", "+Inf"): count,
        ("h_count", ""): count,
        ("h_sum", ""): total,
    }


# Exemplars have a time, and gauges that at which they were set: 0 if they never were.
clock = itertools.count(1)
MERGED: dict[str, Callable[[State, State], State]] = {
    "sum": added,
    "min": min,
    "max": max,
    "mostrecent": lambda one, other: max(one, other, key=operator.itemgetter(1)),
}


def gauge(mode: Any) -> Kind:
    rule = mode.removeprefix("live")
    return Kind(
        make=lambda: Gauge("g_" + mode, multiprocess_mode=mode, **ARGUMENTS),
        count=lambda child, amount: child.set(amount),
        begin=(0.0, 0.0),
        counted=lambda _, amount: (float(amount), float(next(clock))),
        merged=MERGED.get(rule, added),
        shown=lambda state: {("g_" + mode, ""): state[0]} if state[1] or "rec" not in mode else {},
        of_dead="gone" if rule != mode else "kept" if mode == "all" else "archived",
    )


KINDS = {
    "counter": Kind(
        make=lambda: Counter("c", **ARGUMENTS),
        count=lambda child, amount, **exemplar: child.inc(amount, **exemplar),
        begin=(0.0,),
        counted=lambda state, amount: added(state, (float(amount),)),
        merged=added,
        shown=lambda state: {("c_total", ""): state[0]},
        exemplified=lambda _: ("c_total", ""),
    ),
    "summary": Kind(
        make=lambda: Summary("s", **ARGUMENTS),
        count=lambda child, amount: child.observe(amount),
        begin=(0.0, 0.0),
        counted=lambda state, amount: added(state, (1.0, float(amount))),
        merged=added,
        shown=lambda state: {("s_count", ""): state[0], ("s_sum", ""): state[1]},
    ),
    "histogram": Kind(
        make=lambda: Histogram("h", buckets=BOUNDS, **ARGUMENTS),
        count=lambda child, amount, **exemplar: child.observe(amount, *exemplar.values()),
        begin=(0.0, 0.0, 0.0),
        counted=observed,
        merged=added,
        shown=buckets,
        exemplified=lambda amount: ("h_bucket", "5.0" if amount <= BOUNDS[0] else "+Inf"),
    ),
    "info": Kind(
        make=lambda: Info("i", **ARGUMENTS),
        count=lambda child, amount: child.info({"said": str(float(amount))}),
        begin=(),
        counted=lambda _, amount: (float(amount),),
        merged=lambda one, other: tuple({*one, *other}),
        shown=lambda state: {("i_info", str(said)): 1.0 for said in state},
        of_dead="gone",
    ),
    "enum": Kind(
        make=lambda: Enum("e", states=("even", "odd"), **ARGUMENTS),
        count=lambda child, amount: child.state(("even", "odd")[amount % 2]),
        begin=(0.0, 0.0),
        counted=lambda _, amount: (float(amount % 2), float(next(clock))),
        merged=MERGED["mostrecent"],
        shown=lambda state: (
            {("e", "even"): 1 - state[0], ("e", "odd"): state[0]} if state[1] else {}
        ),
        of_dead="gone",
    ),
    **{mode: gauge(mode) for mode in stock.GAUGE_MODES},
}


class Model:
    """What the files of one kind hold: by process, and in the archive."""

    def __init__(self, name: str) -> None:
        self.name, self.kind = name, KINDS[name]
        self.own: dict[str, dict[str, State]] = {}
        self.withdrawn: dict[str, set[str]] = {}
        self.dead: set[str] = set()
        self.archive: dict[str, State] = {}
        self.exemplars: dict[str, dict[Place, Exemplar]] = {}

    def begin(self, process: str) -> None:
        self.own[process], self.withdrawn[process], self.exemplars[process] = {}, set(), {}

    def make(self, process: str, label: str) -> None:
        self.own[process].setdefault(label, self.kind.begin)

    def count(self, process: str, label: str, amount: int) -> None:
        self.make(process, label)
        own = self.own[process]
        own[label] = self.kind.counted(own[label], amount)
        if self.name == "mostrecent":
            # Its time takes the place of the mark. What the dead have left is older, anyhow.
            self.withdrawn[process].discard(label)

    def exemplify(self, process: str, label: str, exemplar: Exemplar) -> None:
        assert self.kind.exemplified
        name, other = self.kind.exemplified(int(exemplar.value))
        self.exemplars[process][name, label, other, ""] = exemplar

    def remove(self, process: str, label: str) -> None:
        if self.own[process].pop(label, None) is not None:
            self.withdrawn[process].add(label)
        kept = self.exemplars[process]
        self.exemplars[process] = {place: kept[place] for place in kept if place[1] != label}

    def clear(self, process: str) -> None:
        for label in list(self.own[process]):
            self.remove(process, label)

    def die(self, process: str) -> None:
        if self.kind.of_dead == "gone":
            del self.own[process]
        else:
            self.dead.add(process)

    def fold(self) -> None:
        if self.kind.of_dead != "archived":
            return
        withdrawn = set().union(*self.withdrawn.values())
        for process in self.dead:
            self.add(self.archive, self.own.pop(process))
            del self.exemplars[process]
        self.dead.clear()
        for label in withdrawn:
            having = (process for process, series in self.own.items() if label in series)
            if all(label in self.withdrawn[process] for process in having):
                self.archive.pop(label, None)
        self.withdrawn = {process: set() for process in self.own}

    def add(self, to: dict[str, State], series: dict[str, State]) -> None:
        for label, state in series.items():
            to[label] = self.kind.merged(to[label], state) if label in to else state

    def scrape(self) -> dict[Place, float]:
        if self.name in {"all", "liveall"}:
            by_process: Iterable[tuple[str, dict[str, State]]] = self.own.items()
        else:
            merged = dict(self.archive)
            for series in self.own.values():
                self.add(merged, series)
            by_process = [("", merged)]
        return {
            (name, label, other, process): value
            for process, series in by_process
            for label, state in series.items()
            for (name, other), value in self.kind.shown(state).items()
        }

    def newest(self) -> dict[Place, Exemplar]:
        every = (kept.items() for kept in self.exemplars.values())
        return dict(sorted(itertools.chain(*every), key=lambda item: item[1].timestamp or 0))


class Process:
    """A process: a value class of its own, and its metrics."""

    def __init__(self, identifier: str, kinds: Iterable[str]) -> None:
        self.identifier = identifier
        self.value_class: Any = multiprom.MultiProcessValue(lambda: identifier)
        self.metrics = {name: KINDS[name].make() for name in kinds}


class Service:
    """The processes of one directory, and what the models say of them."""

    def __init__(self, directory: str, kinds: Iterable[str], *, sweeps: bool) -> None:
        self.directory, self.sweeps = directory, sweeps
        self.models = {name: Model(name) for name in kinds}
        self.identifiers = map(str, itertools.count(1))
        self.processes: dict[int, Process] = {}

    def process(self, place: int) -> Process:
        if place not in self.processes:
            process = self.processes[place] = Process(next(self.identifiers), self.models)
            for model in self.models.values():
                model.begin(process.identifier)
        return self.processes[place]

    def make(self, place: int, label: str, amount: Any = None, trace: str = "") -> None:
        process = self.process(place)
        for name, model in self.models.items():
            with mock.patch.object(values, "ValueClass", process.value_class):
                child = process.metrics[name].labels(label)
                if trace and model.kind.exemplified:
                    exemplar = Exemplar({"trace": trace}, amount, float(next(clock)))
                    with mock.patch.object(time, "time", return_value=exemplar.timestamp):
                        model.kind.count(child, amount, exemplar=exemplar.labels)
                    model.exemplify(process.identifier, label, exemplar)
                elif amount is not None:
                    model.kind.count(child, amount)
            model.make(process.identifier, label)
            if amount is not None:
                model.count(process.identifier, label, amount)

    def remove(self, place: int, label: str) -> None:
        process = self.process(place)
        for name, model in self.models.items():
            process.metrics[name].remove(label)
            model.remove(process.identifier, label)

    def clear(self, place: int) -> None:
        process = self.process(place)
        for name, model in self.models.items():
            process.metrics[name].clear()
            model.clear(process.identifier)

    def die(self, place: int) -> None:
        if process := self.processes.pop(place, None):
            process.value_class._value_class.end()
            for model in self.models.values():
                model.die(process.identifier)

    def fold(self) -> None:
        multiprom.compact(self.directory)
        for model in self.models.values():
            model.fold()

    def scrape(self) -> None:
        switch = {"MULTIPROM_COMPACTION": "on" if self.sweeps else "off"}
        with mock.patch.dict(os.environ, switch):
            registry = CollectorRegistry()
            collector = multiprom.MultiProcessCollector(registry, self.directory)
            found, exemplars = samples(collector)
            # The text has exemplars on a way of its own.
            assert openmetrics_latest(registry) == stock.openmetrics_latest(registry)
        expected: dict[Place, float] = {}
        newest: dict[Place, Exemplar] = {}
        for model in self.models.values():
            if self.sweeps:
                model.fold()
            expected |= model.scrape()
            newest |= model.newest()
        assert found == expected
        assert exemplars == newest
        if self.models.keys() <= {"counter", "summary", "histogram"}:
            # prometheus_client's reader sees 0 in the place of what was withdrawn.
            theirs, _ = samples(stock.MultiProcessCollector(CollectorRegistry(), self.directory))
            assert nonzero(theirs) == nonzero(expected)


def samples(collector: Any) -> tuple[dict[Place, float], dict[Place, Exemplar]]:
    found, exemplars = {}, {}
    for metric in collector.collect():
        for sample in metric.samples:
            labels = sample.labels
            other = "".join(labels.get(name, "") for name in ("le", "said", "e"))
            place = (sample.name, labels["x"], other, labels.get("pid", ""))
            assert place not in found
            found[place] = sample.value
            if sample.exemplar:
                exemplars[place] = sample.exemplar
    return found, exemplars


def nonzero(found: dict[Place, float]) -> dict[Place, float]:
    return {place: value for place, value in found.items() if value}


PROCESSES = st.integers(0, 2)
LABELS = st.sampled_from("ab")
AMOUNTS = st.integers(0, 9)
# A long one does not fit where a short one was.
TRACES = st.sampled_from(["1", "1" * 99])
OPERATIONS = st.one_of(
    st.tuples(st.just("make"), PROCESSES, LABELS, AMOUNTS, TRACES),
    st.tuples(st.just("make"), PROCESSES, LABELS, AMOUNTS),
    st.tuples(st.just("make"), PROCESSES, LABELS),
    st.tuples(st.just("remove"), PROCESSES, LABELS),
    st.tuples(st.just("clear"), PROCESSES),
    st.tuples(st.just("die"), PROCESSES),
    st.tuples(st.just("fold")),
    st.tuples(st.just("scrape")),
)


@given(
    # Without a least size hypothesis makes short lists mostly.
    operations=st.lists(OPERATIONS, max_size=9) | st.lists(OPERATIONS, min_size=10, max_size=40),
    kinds=st.just({"counter", "histogram"})
    | st.sets(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3),
    sweeps=st.booleans(),
)
# What is withdrawn is heeded once, also while nobody has died.
@example(
    operations=[("make", 0, "c", 1), ("make", 1, "c"), ("remove", 1, "c"), ("fold",), ("die", 0)],
    kinds={"counter"},
    sweeps=True,
)
@example(
    operations=[("make", 0, "a", 1, "1" * n) for n in (1, 99)], kinds={"counter"}, sweeps=False
)
def test_scrapes_are_those_of_the_model(
    operations: list[tuple[Any, ...]], kinds: set[str], *, sweeps: bool
) -> None:
    _core.install_methods(counting=True)
    _core.reset_compaction(sweep_seconds=0)
    try:
        with tempfile.TemporaryDirectory() as directory:
            # A process that opens a file must not sweep: the model folds in scrapes only.
            variables = {"PROMETHEUS_MULTIPROC_DIR": directory, "MULTIPROM_COMPACTION": "off"}
            with stock.closing(), mock.patch.dict(os.environ, variables):
                service = Service(directory, sorted(kinds), sweeps=sweeps)
                for name, *arguments in [*operations, ("scrape",)]:
                    getattr(service, name)(*arguments)
                for place in list(service.processes):
                    service.die(place)
    finally:
        _core.reset_compaction()
        _core.remove_methods()
