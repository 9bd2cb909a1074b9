"""Gives metrics that exist already values that are counted in shared files, and takes them back."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from multiprom.environment import VARIABLE
from multiprom.move import Move, NoFile, alone, is_claimed, is_swapped
from multiprom.reports import logger
from multiprom.stock import is_genuine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MOST_RECENT = "mostrecent"

# On an old value: what it was given back, which the file of this process still has too.
_HANDED_BACK = "_multiprom_handed_back"


class _HandedBack(NamedTuple):
    pid: int
    value: float


# What was moved, in order. A list, since appending is atomic.
_moved: list[Move] = []

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
    return _closure(value_class).get("process_identifier")


def _closure(value_class: Any) -> dict[str, Any]:
    """Give the variables around prometheus_client's class that its methods use."""
    found: dict[str, Any] = {}
    for function in vars(value_class).values():
        code = getattr(function, "__code__", None)
        cells = getattr(function, "__closure__", None) or ()
        names = code.co_freevars if code is not None else ()
        found |= {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    return found


def move_class(old_class: Any, new_class: Any) -> None:
    """Let `new_class` count in the place of all values of prometheus_client's `old_class`.

    It continues the files, which prometheus_client's code then closes.
    """
    around = _closure(old_class)
    values = around["values"]
    # Other threads may just be making more.
    while olds := [old for old in list(values) if not is_claimed(old)]:
        identifier = around["process_identifier"]()
        # After a fork that prometheus_client's code has not noticed, all they hold is the parent's.
        is_inherited = identifier != around["pid"]["value"]
        moves = [(move, place) for move, place in _moves(olds, new_class) if move.claim()]
        for move, _ in moves:
            move.hold()
        try:
            # It writes what a value comes to, so nobody else may have counted in the file, nor may
            # it be closed, until all have left its code.
            with alone(around["lock"]) as is_alone:
                # Children that were removed and made anew have one series.
                latest = {(id(old._file), old._key): old for old in values}.values()  # noqa: SLF001
                heirs = {id(old) for old in latest} if not is_inherited else set()
                for move, place in moves:
                    _take_over(move, place, is_heir=id(move.old) in heirs, is_alone=is_alone)
                around["pid"]["value"] = identifier
                if all(is_swapped(old) for old in values):
                    _close(around["files"], is_alone=is_alone)
        finally:
            for move, _ in moves:
                move.release()
                _moved.append(move)


def _moves(olds: list[Any], new_class: Any) -> Iterator[tuple[Move, str]]:
    """Make a new value for each old one; say too which file it counts in."""
    for old in olds:
        typ, metric_name, name, labelnames, labelvalues, help_text, mode = old._params  # noqa: SLF001
        new = new_class(typ, metric_name, name, labelnames, labelvalues, help_text, mode)
        yield Move(old, new, sets=typ == "gauge"), _place(old._file)  # noqa: SLF001


def _place(file: Any) -> str:
    """Say where prometheus_client's open file is, as seen from the directory that is set now."""
    home, name = os.path.split(file._fname)  # noqa: SLF001
    with contextlib.suppress(OSError):
        there = os.stat(os.path.join(os.environ[VARIABLE], name))  # noqa: PTH116, PTH118
        if os.path.samestat(os.fstat(file._f.fileno()), there):  # noqa: SLF001
            return "there"
    is_home = os.path.realpath(home) == os.path.realpath(os.environ[VARIABLE])
    return "replaced" if is_home else "elsewhere"


def _take_over(move: Move, place: str, *, is_heir: bool, is_alone: bool) -> None:
    """Let the new value have what the old one held, if the file does not have it already."""
    old, new = move.old, move.new
    mode = old._params[-1]  # noqa: SLF001
    timestamp = old._timestamp  # noqa: SLF001
    held = move.swap()
    old._file = NoFile(new)  # noqa: SLF001
    if not is_heir:
        return
    # Somebody may have stored it and not written it yet.
    is_written = place == "there" and (is_alone or held == new.get())
    if move.sets and (mode.startswith("live") or not is_written):
        new.set(held, timestamp)
    elif place == "elsewhere":
        new.inc(held)
    elif not is_written:
        new.set(held)


def _close(files: dict[str, Any], *, is_alone: bool) -> None:
    """Close prometheus_client's files."""
    for file in list(files.values()):
        if is_alone:
            file.close()
        else:
            # Somebody is going to write what was taken over: where nobody reads it.
            file._m = bytearray(file._capacity)  # noqa: SLF001
            file._f.close()  # noqa: SLF001
    files.clear()


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
            move = Move(old, new, sets=is_gauge)
            if move.claim():
                _replace(move, time.time() if is_most_recent else None)
    _use_directly(places)


def _replace(move: Move, at: float | None) -> None:
    """Let the new value count what the old one, which counts in memory, has counted and will."""
    old, new = move.old, move.new
    handed_back = vars(old).pop(_HANDED_BACK, None)
    # Whether the file has what uninstall() gave back.
    is_there = handed_back == (os.getpid(), new.get())
    # What uninstall() gave back to the parent of this process its file has.
    inherited = handed_back.value if handed_back and handed_back.pid != os.getpid() else 0.0
    move.hold()
    try:
        with alone(_lock_of(old)):
            held = move.swap()
            if is_there:
                new.set(held, at)
            # A gauge that was never set stays so.
            elif held != 0:
                if move.sets:
                    new.set(held, at)
                else:
                    new.inc(held - inherited)
    finally:
        move.release()
        _moved.append(move)


def _lock_of(old: Any) -> Any:
    """Give the lock under which a value in memory counts, which one of another class may lack."""
    return vars(old).get("_lock") or threading.Lock()


def _renew(observable: Any, old_class: type[Any]) -> list[tuple[Any, Any]]:
    """Give each value of `observable` that is of `old_class`, and a new one for the same series."""
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


def _use_directly(places: Iterable[Any]) -> None:
    """Give metrics the new values themselves, which spares a detour."""
    successors = {id(move.old): move.new for move in list(_moved)}
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
    moves = list(_moved)
    del _moved[: len(moves)]
    _use_old(moves)
    for move in moves:
        move.hold_back()
    in_files = [move for move in moves if hasattr(move.old, "_params")]
    in_memory = [move for move in moves if not hasattr(move.old, "_params")]
    try:
        continued = {type(move.new) for move in in_files}
        if replaced is not None:
            continued.add(replaced)
        for new_class in continued:
            # prometheus_client's code goes on in the files, and locks none.
            new_class._owner.hand_over()  # noqa: SLF001
        for move in in_files:
            _read_back(move)
        given = [_give_back(move) for move in in_memory]
    finally:
        for move in moves:
            move.release_back()
    for move, value in zip(in_memory, given, strict=True):
        _give_rest(move, value)


def _use_old(moves: list[Move]) -> None:
    """Give metrics the old values themselves."""
    predecessors = {id(move.new): move.old for move in moves}
    references = list(_metrics_moved.values())
    _metrics_moved.clear()
    for metric in [reference() for reference in references]:
        if metric is not None:
            for observable in _observables(metric):
                _exchange(observable, predecessors)


def _read_back(move: Move) -> None:
    """Let a value of prometheus_client's count on in its file."""
    move.restore()
    try:
        move.old._MmapedValue__reset()  # noqa: SLF001
    except BaseException:
        move.swap_again()
        raise


def _give_back(move: Move) -> float:
    """Let a value in memory count on from what the new one holds; return that."""
    with alone(_lock_of(move.old)):
        move.restore()
        value: float = move.new.get()
        move.old._value = value  # noqa: SLF001
    return value


def _give_rest(move: Move, value: float) -> None:
    """Give a value in memory what the new one got after it had held `value`.

    Somebody had asked for a method of the new value before, and called it meanwhile.
    """
    last = move.new.get()
    vars(move.old)[_HANDED_BACK] = _HandedBack(os.getpid(), last)
    if last != value:
        if move.sets:
            move.old.set(last)
        else:
            move.old.inc(last - value)
