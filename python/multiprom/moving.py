"""Gives metrics that exist already values that are counted in shared files, and takes them back."""

from __future__ import annotations

import copy
import functools
import importlib
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from multiprom.environment import VARIABLE
from multiprom.reports import logger
from multiprom.stock import is_genuine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# What metrics call on their values.
_METHODS = ("inc", "set", "get", "set_exemplar", "get_exemplar")

_MOST_RECENT = "mostrecent"

# On an old value: what it was given back, which the file still has too.
_HANDED_BACK = "_multiprom_handed_back"


class _Moved(NamedTuple):
    """A value of prometheus_client's and the one that counts in its place."""

    old: Any
    new: Any


# What was moved, in order. A list, since appending is atomic.
_moved: list[_Moved] = []

# The metrics that use the new values, for move_back, by id: not all can be hashed.
_metrics_moved: dict[int, weakref.ref[Any]] = {}


def stock_identifier(value_class: Any) -> Callable[[], object] | None:
    """Give the `process_identifier` of a class made by prometheus_client's MultiProcessValue.

    None if it is no such class.
    """
    if not is_genuine(
        value_class, "prometheus_client.values", "MultiProcessValue.<locals>.MmapedValue"
    ):
        return None
    names = _closure(value_class, "check_for_pid_change")
    return names.get("process_identifier")


def _closure(value_class: Any, method: str) -> dict[str, Any]:
    """Give the variables around prometheus_client's class that one of its methods uses."""
    function = getattr(value_class, f"_MmapedValue__{method}", None)
    code = getattr(function, "__code__", None)
    cells = getattr(function, "__closure__", None) or ()
    names = code.co_freevars if code is not None else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}


def move_class(old_class: Any, new_class: Any) -> None:
    """Let `new_class` count in the place of all values of prometheus_client's `old_class`.

    It continues the files, which prometheus_client's code then closes.
    """
    values = _closure(old_class, "check_for_pid_change").get("values", [])
    if values:
        # After a fork prometheus_client's code first has to notice it.
        values[0].get()
    files = _closure(old_class, "reset").get("files", {})
    for old in list(values):
        typ, metric_name, name, labelnames, labelvalues, help_text, mode = old._params  # noqa: SLF001
        new = new_class(typ, metric_name, name, labelnames, labelvalues, help_text, mode)
        # The file has the entry already, with all that was counted, if it is the same one.
        is_continued = _is_in_directory(old._file)  # noqa: SLF001
        if typ == "gauge" and (mode.startswith("live") or not is_continued):
            new.set(old._value, old._timestamp)  # noqa: SLF001
        elif not is_continued:
            new.inc(old._value)  # noqa: SLF001
        _redirect(old, new)
        old._file = _Redirection(old, new, sets=typ == "gauge")  # noqa: SLF001
        if typ != "gauge":
            old._value = 0.0  # noqa: SLF001
    for file in list(files.values()):
        file.close()
    files.clear()


def _is_in_directory(file: Any) -> bool:
    """Say whether prometheus_client opened a file in the directory that is set now."""
    home = os.path.dirname(file._fname)  # noqa: PTH120, SLF001
    return bool(os.path.realpath(home) == os.path.realpath(os.environ[VARIABLE]))


class _Redirection:
    """Stands for the file of a value, for a thread that is just counting in it while it moves."""

    def __init__(self, old: Any, new: Any, *, sets: bool) -> None:
        self._old = old
        self._new = new
        self._sets = sets

    def write_value(self, _key: str, value: float, timestamp: float) -> None:
        """Count what prometheus_client's code would write."""
        if self._sets:
            self._new.set(value, timestamp)
        else:
            self._old._value = 0.0  # noqa: SLF001
            self._new.inc(value)


def move_metrics(places: Iterable[Any]) -> None:
    """Move what metrics hold in memory into values of `prometheus_client.values.ValueClass`.

    Args:
        places: Metrics, and registries, whose metrics are moved.

    """
    values: Any = importlib.import_module("prometheus_client.values")
    for metric in _metrics(places):
        try:
            pairs = [
                pair
                for observable in _observables(metric)
                for pair in _renew(observable, values.MutexValue)
            ]
        except Exception as error:  # noqa: BLE001 - a metric may be of any class
            logger.warning("could not move %r into shared files: %r", metric, error)
            continue
        is_most_recent = str(getattr(metric, "_multiprocess_mode", "")).endswith(_MOST_RECENT)
        is_gauge = getattr(metric, "_type", None) == "gauge"
        for old, new in pairs:
            _replace(old, new, sets=is_gauge, at=time.time() if is_most_recent else None)
    _use_directly(places)


def _replace(old: Any, new: Any, *, sets: bool, at: float | None) -> None:
    """Let `new` count what `old`, which counts in memory, has counted and will count."""
    attributes = vars(old)
    attributes["_successor"] = new
    # Whether the file has what uninstall() gave back.
    is_there = new.get() == attributes.pop(_HANDED_BACK, None)
    seen = attributes["_value"] if sets else 0.0
    # A gauge that was never set stays so.
    if seen != 0:
        new.set(seen, at)
    # From here on also a thread that is in the midst of counting counts in `new`.
    base: Any = type(old)
    old.__class__ = _forwarding(base, sets)
    held = attributes.pop("_value")
    if is_there:
        new.set(held, at)
    elif held != seen:
        (new.set if sets else new.inc)(held)
    _redirect(old, new)


@functools.cache
def _forwarding(base: Any, sets: bool) -> Any:
    """Give a class of values whose `_value`, in which `base` counts, is that of their successor."""

    def value(self: Any) -> Any:
        return vars(self)["_successor"].get() if sets else 0.0

    def change(self: Any, value: Any) -> None:
        successor = vars(self)["_successor"]
        (successor.set if sets else successor.inc)(value)

    return type(base.__name__, (base,), {"_value": property(value, change), "_stock_class": base})


def _renew(observable: Any, old_class: type[Any]) -> list[tuple[Any, Any]]:
    """Give each value of `observable` that is of `old_class`, and a new one for the same series."""
    if not any(isinstance(value, old_class) for value in _values_of(observable)):
        return []
    # What makes the values of a metric is its own to know: it makes them on a copy.
    shadow = copy.copy(observable)
    shadow._metric_init()  # noqa: SLF001
    pairs = zip(_values_of(observable), _values_of(shadow), strict=True)
    return [(old, new) for old, new in pairs if isinstance(old, old_class)]


def _values_of(observable: Any) -> list[Any]:
    """Give what a metric or child may count in: its attributes, and what is in its lists."""
    found: list[Any] = []
    for _, value in sorted(vars(observable).items()):
        found += value if isinstance(value, list) else [value]
    return [value for value in found if hasattr(type(value), "_multiprocess")]


def _metrics(places: Iterable[Any]) -> list[Any]:
    """Give the metrics among and in `places`, each once."""
    metrics_module: Any = importlib.import_module("prometheus_client.metrics")
    found: dict[int, Any] = {}
    for place in places:
        inside = getattr(place, "_collector_to_names", None)
        for metric in [place] if inside is None else list(inside):
            if isinstance(metric, metrics_module.MetricWrapperBase):
                found[id(metric)] = metric
    return list(found.values())


def _observables(metric: Any) -> Iterator[Any]:
    """Give a metric and its children, of which those that have values matter."""
    yield metric
    yield from list(getattr(metric, "_metrics", {}).values())


def _redirect(old: Any, new: Any) -> None:
    """Let whoever has the old value count in the new one."""
    for name in _METHODS:
        setattr(old, name, getattr(new, name))
    _moved.append(_Moved(old, new))


def _use_directly(places: Iterable[Any]) -> None:
    """Give metrics the new values themselves, which spares a detour."""
    successors = {id(old): new for old, new in _moved}
    for metric in _metrics(places):
        _remember(metric)
        for observable in _observables(metric):
            _exchange(observable, successors)


def _remember(metric: Any) -> None:
    """Note for move_back that a metric uses new values, as long as there is the metric."""
    key = id(metric)
    if key not in _metrics_moved:
        _metrics_moved[key] = weakref.ref(metric, lambda _: _metrics_moved.pop(key, None))


def _exchange(observable: Any, successors: dict[int, Any]) -> None:
    attributes = vars(observable)
    for name, value in list(attributes.items()):
        if isinstance(value, list):
            value[:] = [successors.get(id(item), item) for item in value]
        elif id(value) in successors:
            attributes[name] = successors[id(value)]


def move_back(replaced: type[Any] | None = None) -> None:
    """Undo what was moved: the old values count again, from what the new ones hold.

    Args:
        replaced: The class in whose place one of prometheus_client's counts in files again.

    """
    moved = list(_moved)
    _moved.clear()
    predecessors = {id(new): old for old, new in moved}
    held = [new.get() for _, new in moved]
    continued = {type(new) for old, new in moved if hasattr(old, "_params")}
    if replaced is not None:
        continued.add(replaced)
    for new_class in continued:
        # prometheus_client's code goes on in the files, and locks none.
        new_class._owner.hand_over()  # noqa: SLF001
    for old, _ in moved:
        if hasattr(old, "_params"):
            # Other threads count in the new values as long as these are read from the files.
            old._MmapedValue__reset()  # noqa: SLF001
    for (old, _), value in zip(moved, held, strict=True):
        for name in _METHODS:
            vars(old).pop(name, None)
        if not hasattr(old, "_params"):
            vars(old).pop("_successor", None)
            vars(old)[_HANDED_BACK] = value
            old.__class__ = type(old)._stock_class  # noqa: SLF001
            old._value = value  # noqa: SLF001
    metrics = [
        metric
        for metric in (reference() for reference in list(_metrics_moved.values()))
        if metric is not None
    ]
    _metrics_moved.clear()
    for metric in metrics:
        for observable in _observables(metric):
            _exchange(observable, predecessors)
