"""Lets metrics count in shared files, whenever they were made, and gives them back.

An old value is prometheus_client's; a new value is multiprom's, which counts in its place. The old
value gets the methods of the new one as attributes of its own, so that all who hold the old value
count in the new one. Of several old values of one series the heir is the one whose count is in the
file. Each step may be repeated: where one was broken off, another call finishes it.
"""
# ruff: noqa: SLF001 - what metrics and values hold is in private attributes of prometheus_client's

from __future__ import annotations

import atexit
import contextlib
import importlib
import mmap
import os
import shutil
import sys
import weakref
from typing import TYPE_CHECKING, Any

from multiprom import _core, environment
from multiprom.reports import is_first, logger
from multiprom.stock import is_genuine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# On an old value: the new one, and what that held before.
_NEW = "_multiprom_new"
# On an old value: what the new one has still to be told, in a dictionary; `()` when it has moved.
_REST = "_multiprom_rest"
# On an old value: a pid, and what of its count is that process's. `unshare` gave it back, and the
# file of the process has it; or a child inherited it (0 in place of the parent's pid).
_KNOWN = "_multiprom_known"
# What an old value gets when it moves.
_OURS = {"inc", "set", "get", "set_exemplar", "get_exemplar", "_multiprocess", _NEW, _REST}


class _State:
    """What is known of one import of prometheus_client, kept in its module `values`."""

    def __init__(self) -> None:
        self.ours: Any = None
        """The value class that was put there."""
        self.found: Any = None
        """The value class that was there before."""
        # By id, and weak: not all metrics can be hashed, and none shall live longer for this.
        self.values: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """Values that counted in memory, made after install() or moved since."""
        self.places: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """Registries and metrics that install() was told of."""
        self.is_settled = False
        """Whether it was looked for values that another thread made while `share` was at work."""
        self._warned: dict[str, object] = {}

    def warn(self, name: str, error: Exception) -> None:
        """Log once that what has this name cannot move: later, as a value may just be made."""
        if is_first(self._warned, name):
            _core.warn_later(
                f"could not move {name} into shared files: it counts in memory, and no scrape has "
                f"it; set {environment.VARIABLE} before it is made ({error!r})"
            )


def share(places: Iterable[Any] = ()) -> None:
    """Let metrics count in shared files, as soon as the environment names a directory.

    `places` are registries and metrics, beside what is in prometheus_client's `REGISTRY`.
    """
    values: Any = importlib.import_module("prometheus_client.values")
    state: _State = vars(values).setdefault("_multiprom", _State())
    for place in places:
        # What can have no weak reference is neither a registry nor a metric.
        with contextlib.suppress(TypeError):
            state.places[id(place)] = place
    found = values.ValueClass
    _core.install_methods(counting=bool(environment.named_directory()))
    if not environment.named_directory():
        if found is values.MutexValue or _closure_of(found):
            state.found, state.ours = found, _late_class(values, state)
            values.ValueClass = state.ours
            logger.info("metrics count in memory until %s names a directory", environment.VARIABLE)
        return
    _core.announce(True)
    if found is not state.ours:
        state.found = found
    if found is not state.ours or isinstance(found, _Late):
        state.ours = _shared_class(values, state.found)
    values.ValueClass = ours = state.ours
    if not getattr(ours, "_multiprocess", False):
        state.warn(f"values of {ours!r}", TypeError("the class is not prometheus_client's"))
        return
    if issubclass(ours, _core.Value):
        ours._value_class.move_on()
    state.is_settled = False
    _move_all(values, state)


def look_again() -> None:
    """Share, if that was asked for before the environment named a directory.

    Also move what another thread was making while `share` was at work.
    """
    values: Any = sys.modules.get("prometheus_client.values")
    state: _State | None = getattr(values, "_multiprom", None)
    if state is None or values.ValueClass is not state.ours:
        return
    if isinstance(state.ours, _Late):
        if environment.named_directory():
            share()
    elif not state.is_settled:
        state.is_settled = True
        _move_all(values, state)


def unshare() -> None:
    """Let values that counted in memory do so again, from what their files hold.

    Values of prometheus_client's multiprocess mode stay in multiprom's files: with two writers a
    file would be damaged.
    """
    values: Any = sys.modules.get("prometheus_client.values")
    state: _State | None = getattr(values, "_multiprom", None)
    if values is None or state is None:
        return
    _core.announce(False)
    if values.ValueClass is state.ours:
        values.ValueClass = state.found
    for old in filter(_has_moved, _living(state.values)):
        new, _ = vars(old)[_NEW]
        value = new.get()
        kept = {name: item for name, item in vars(old).items() if name not in _OURS}
        # All at once, so that nobody finds half of it.
        old.__dict__ = kept | {"_value": value, _KNOWN: (os.getpid(), value)}
        # What another thread has counted since it was read.
        rest = new.get() - value
        if rest:
            old.inc(rest)
            vars(old)[_KNOWN] = (os.getpid(), value + rest)
    vars(values).pop("_multiprom", None)


class _Late(type):
    """The type of value classes that decide where a value counts when it is made."""

    @property
    def _multiprocess(cls) -> bool:
        return bool(environment.named_directory())

    def __instancecheck__(cls, value: object) -> bool:
        # Values that were made before install() are of prometheus_client's class.
        return issubclass(type(value), cls.__base__ or cls)


def _late_class(values: Any, state: _State) -> Any:
    class LateValue(values.MutexValue, metaclass=_Late):  # type: ignore[misc]
        """A value in memory; once the environment names a directory, making one gives another."""

        def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
            _core.hold_back(look_again)
            if values.ValueClass is LateValue or cls is not LateValue:
                return super().__new__(cls)
            return values.ValueClass(*arguments, **keywords)

        def __init__(self, *arguments: Any, multiprocess_mode: str = "", **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self._params = (*arguments, multiprocess_mode)
            state.values[id(self)] = self

    return LateValue


def _shared_class(values: Any, found: Any) -> Any:
    """Give the class whose values count in shared files in the place of those of `found`."""
    if found is values.MutexValue:
        return values.get_value_class()
    around = _closure_of(found)
    # `unshare` leaves our class on prometheus_client's: it is used again.
    if not around or "_multiprom_class" in vars(found):
        return vars(found).get("_multiprom_class", found)
    make: Any = importlib.import_module("multiprom.values").MultiProcessValue
    ours = make(around["process_identifier"])
    if not _is_inherited(around):
        for file in list(around["files"].values()):
            _detach(file)

    def reset(value: Any) -> None:
        """Count in `ours`, and in no file of prometheus_client's, when the class makes a value."""
        if _REST not in vars(value):
            value._value = value._timestamp = 0.0
            _core.move_value(value, ours, is_heir=False)

    found._MmapedValue__reset, found._multiprom_class = reset, ours
    return ours


def _move_all(values: Any, state: _State) -> None:
    ours = state.ours
    _move_class(state, ours)
    for old in _living(state.values):
        _move_value(state, old, ours)
    for metric in _metrics(state):
        _move_metric(state, metric, values.MutexValue)


def _closure_of(value_class: Any) -> dict[str, Any]:
    """Give the closure of prometheus_client's MultiProcessValue class; empty for other classes."""
    if not is_genuine(
        value_class, "prometheus_client.values", "MultiProcessValue.<locals>.MmapedValue"
    ):
        return {}
    functions = [f for f in vars(value_class).values() if getattr(f, "__closure__", None)]
    return {
        name: cell.cell_contents
        for function in functions
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True)
    }


def _move_class(state: _State, ours: Any) -> None:
    """Let the values of prometheus_client's class, if that was found, count in `ours`."""
    around = _closure_of(state.found)
    olds = list(around.get("values", ()))
    # The heir of a series is its last value, which has written the file. A value without a key is
    # just being made by another thread, and may count before it is moved.
    keys = {id(old): (id(old._file), old._key) for old in olds if hasattr(old, "_key")}
    superseded = keys.keys() - {key: made for made, key in keys.items()}.values()
    is_inherited = bool(around) and _is_inherited(around)
    for old in olds:
        _move_value(state, old, ours, is_heir=not is_inherited and id(old) not in superseded)
    for file in list(around.get("files", {}).values()):
        file._f.close()


def _is_inherited(around: dict[str, Any]) -> bool:
    """Say whether the class has not noticed a fork, so that all that it holds is the parent's."""
    return bool(around["pid"]["value"] != around["process_identifier"]())


def _detach(file: Any) -> None:
    """Let prometheus_client's code go on in memory that nobody reads, and leave the file to ours.

    A thread that is in that code just now writes what its value comes to, not what is added: in a
    file of ours that would undo counts. So it keeps the old file, and ours is a copy.
    """
    if file._f.closed:
        return
    memory = mmap.mmap(-1, file._capacity)
    memory[:] = file._m[:]
    file._m = memory
    copy = f"{file._fname}.multiprom"
    # A file that was removed is made anew; without room for a copy the file itself is continued.
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(file._f.fileno()), os.stat(file._fname)):  # noqa: PTH116
            shutil.copy(file._fname, copy)
            os.replace(copy, file._fname)  # noqa: PTH105


def _move_metric(state: _State, metric: Any, old_class: type[Any]) -> None:
    """Move what a metric or child counts in values of `old_class`."""
    try:
        _core.move_metric(metric, old_class, state.ours, state.values)
        _core.repeat_statement(metric)
    except Exception as error:  # noqa: BLE001 - a metric may be of any class
        state.warn(repr(metric), error)


def _move_value(state: _State, old: Any, ours: Any, *, is_heir: bool = True) -> None:
    """Move a value that knows how it was made."""
    try:
        _core.move_value(old, ours, is_heir=is_heir)
    except Exception as error:  # noqa: BLE001 - `mmap_key` and identifiers may raise anything
        state.warn(f"a series of {old._params[2]!r}", error)


def _has_moved(old: Any) -> bool:
    return bool(vars(old).get(_REST) == ())


def _values_of(metric: Any, value_class: Any) -> list[Any]:
    """Give the values of a class that a metric or child counts in, also those in its lists."""
    found = list(vars(metric).values())
    found += [value for values in found if isinstance(values, list) for value in values]
    return [value for value in found if isinstance(value, value_class)]


def _metrics(state: _State) -> Iterator[Any]:
    """Give the metrics of prometheus_client's registry and of `also`, and their children."""
    registry = importlib.import_module("prometheus_client.registry").REGISTRY
    base = importlib.import_module("prometheus_client.metrics").MetricWrapperBase
    for place in [registry, *_living(state.places)]:
        for metric in list(getattr(place, "_collector_to_names", [place])):
            if isinstance(metric, base):
                yield metric
                yield from list(getattr(metric, "_metrics", {}).values())


def _living(known: weakref.WeakValueDictionary[int, Any]) -> list[Any]:
    # Not values(), which fails if another thread adds one meanwhile.
    return [value for value in (ref() for ref in known.valuerefs()) if value is not None]


def _leave_counts_to_parent() -> None:
    """Note in the child of a fork what the parent has counted in memory: the parent moves that."""
    # What is raised here would only be printed.
    with contextlib.suppress(Exception):
        values = sys.modules["prometheus_client.values"]
        state: _State = vars(values)["_multiprom"]
        olds = [old for metric in _metrics(state) for old in _values_of(metric, values.MutexValue)]
        for old in [*olds, *_living(state.values)]:
            if not _has_moved(old):
                vars(old)[_KNOWN] = (0, old._value)
                # The parent is adding it just now.
                vars(old).get(_REST, {}).clear()


os.register_at_fork(after_in_child=_leave_counts_to_parent)
# If no collector and no metric was made since the variable was set.
atexit.register(look_again)
