"""Finds what metrics of prometheus_client count in, and exchanges it."""

from __future__ import annotations

import copy
import importlib
import time
import weakref
from typing import TYPE_CHECKING, Any

from multiprom.move import SECONDS, is_claimed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# How long to sleep before looking again whether a thread is done.
_PAUSE = 0.001

# The metrics that use new values, for use_old, by id: not all can be hashed.
_with_new: dict[int, weakref.ref[Any]] = {}


def metrics_in(places: Iterable[Any]) -> list[Any]:
    """Give the metrics among and in `places`, each once."""
    metrics_module: Any = importlib.import_module("prometheus_client.metrics")
    found: dict[int, Any] = {}
    for place in places:
        inside = getattr(place, "_collector_to_names", None)
        for metric in [place] if inside is None else list(inside):
            if isinstance(metric, metrics_module.MetricWrapperBase):
                found[id(metric)] = metric
    return list(found.values())


def renewed(metric: Any, old_class: type[Any]) -> list[tuple[Any, Any]]:
    """Give each value of `metric` that is of `old_class`, and a new one for the same series."""
    return [pair for observable in _observables(metric) for pair in _renewed(observable, old_class)]


def _renewed(observable: Any, old_class: type[Any]) -> list[tuple[Any, Any]]:
    if not any(isinstance(value, old_class) for value in _values_of(observable)):
        return []
    # What makes the values of a metric is its own to know: it makes them on a copy.
    shadow = copy.copy(observable)
    shadow._metric_init()  # noqa: SLF001
    pairs = zip(_values_of(observable), _values_of(shadow), strict=True)
    return [(old, new) for old, new in pairs if isinstance(old, old_class) and not is_claimed(old)]


def _values_of(observable: Any) -> list[Any]:
    """Give what a metric or child may count in: its attributes, and what is in its lists."""
    found: list[Any] = []
    for _, value in sorted(vars(observable).items()):
        found += value if isinstance(value, list) else [value]
    return [value for value in found if hasattr(type(value), "_multiprocess")]


def _observables(metric: Any) -> Iterator[Any]:
    """Give a metric and its children, of which those that have values matter."""
    yield metric
    _await_child(metric)
    yield from list(getattr(metric, "_metrics", {}).values())


def _await_child(metric: Any) -> None:
    """Wait for a thread that makes a child of `metric`, maybe of the class of before.

    Without holding the lock: a signal handler may come in, and make a child.
    """
    is_locked = getattr(vars(metric).get("_lock"), "locked", bool)
    end = time.monotonic() + SECONDS
    while is_locked() and time.monotonic() < end:
        time.sleep(_PAUSE)


def use_new(places: Iterable[Any], successors: dict[int, Any]) -> None:
    """Give the metrics among and in `places` new values themselves, which spares a detour.

    Args:
        places: Metrics and registries.
        successors: The new values, by the ids of the old ones.

    """
    for metric in metrics_in(places):
        _remember(metric)
        for observable in _observables(metric):
            _exchange(observable, successors)


def _remember(metric: Any) -> None:
    """Note for use_old that a metric uses new values, as long as there is the metric."""
    key = id(metric)
    if key not in _with_new:
        _with_new[key] = weakref.ref(metric, lambda _: _with_new.pop(key, None))


def _exchange(observable: Any, successors: dict[int, Any]) -> None:
    attributes = vars(observable)
    for name, value in list(attributes.items()):
        if isinstance(value, list):
            value[:] = [successors.get(id(item), item) for item in value]
        elif id(value) in successors:
            attributes[name] = successors[id(value)]


def use_old(predecessors: dict[int, Any]) -> None:
    """Give metrics that `use_new` gave new values the old ones, by the ids of the new ones."""
    references = list(_with_new.values())
    _with_new.clear()
    for metric in [reference() for reference in references]:
        if metric is not None:
            for observable in _observables(metric):
                _exchange(observable, predecessors)
