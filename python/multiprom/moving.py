"""Gives metrics that exist already values that are counted in shared files, and takes them back."""

from __future__ import annotations

import contextlib
import functools
import importlib
import mmap
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from multiprom import observables
from multiprom.environment import VARIABLE
from multiprom.move import Move, NoFile, alone, is_claimed, is_swapped
from multiprom.reports import logger
from multiprom.stock import is_genuine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_RECENT = "mostrecent"

# On an old value: what it was given back, which the file of that process still has too.
_HANDED_BACK = "_multiprom_handed_back"


class _HandedBack(NamedTuple):
    pid: int
    value: float


# On what stands for the method with which prometheus_client's values open their file: that method.
_STOCK = "_multiprom_stock"

# What was moved, in order. A list, since appending is atomic.
_moved: list[Move] = []


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

    It continues the files, which prometheus_client's code then closes, to open none any more.
    """
    around = _closure(old_class)
    if _is_diverted(old_class) and all(map(is_claimed, list(around["values"]))):
        return
    _divert(old_class, new_class)
    # Asked before anything is kept: it may raise.
    identifier = around["process_identifier"]()
    moves = _hold_all(around["values"], new_class)
    try:
        # It writes what a value comes to, so nobody else may have counted in the file, nor may it
        # be closed, until all have left its code.
        with alone(around["lock"]) as is_alone:
            # Those of threads that were just making some.
            moves += _hold_all(around["values"], new_class)
            # After a fork that it has not noticed, all that its values hold is the parent's.
            is_inherited = _notice_fork(around, identifier)
            # Children that were removed and made anew have one series.
            olds = [old for old in around["values"] if not is_swapped(old)]
            latest = {(id(old._file), old._key): old for old in olds}  # noqa: SLF001
            heirs = set() if is_inherited else {id(old) for old in latest.values()}
            # Each file is looked at once: beside busy threads every system call takes their turns.
            place_of = functools.cache(_place)
            for move in moves:
                place = place_of(move.old._file)  # noqa: SLF001
                _take_over(move, place, is_heir=id(move.old) in heirs, is_alone=is_alone)
            _close(around["files"], is_alone=is_alone)
    finally:
        _release(moves)


def _notice_fork(around: dict[str, Any], identifier: object) -> bool:
    """Let prometheus_client's class be this process's; say whether it was still its parent's."""
    is_inherited: bool = around["pid"]["value"] != identifier
    around["pid"]["value"] = identifier
    return is_inherited


def _is_diverted(old_class: Any) -> bool:
    return hasattr(old_class._MmapedValue__reset, _STOCK)  # noqa: SLF001


def _divert_no_more(old_class: Any) -> None:
    reset = old_class._MmapedValue__reset  # noqa: SLF001
    old_class._MmapedValue__reset = getattr(reset, _STOCK, reset)  # noqa: SLF001


def _divert(old_class: Any, new_class: Any) -> None:
    """Have values that prometheus_client's code still makes count in `new_class`, not in its files.

    A thread may have looked up `old_class` before: that opens no file from here on, nor adds to it.
    """

    def reset(value: Any) -> None:
        # Its other values know where they count.
        if not is_claimed(value):
            value._key, value._value, value._timestamp = "", 0.0, 0.0  # noqa: SLF001
            move = _move_of(value, new_class)
            move.claim()
            move.hold()
            try:
                move.swap()
                value._file = NoFile(move.new)  # noqa: SLF001
            finally:
                _release([move])

    _divert_no_more(old_class)
    setattr(reset, _STOCK, old_class._MmapedValue__reset)  # noqa: SLF001
    old_class._MmapedValue__reset = reset  # noqa: SLF001


def _move_of(old: Any, new_class: Any) -> Move:
    typ, metric_name, name, labelnames, labelvalues, help_text, mode = old._params  # noqa: SLF001
    make = functools.partial(
        new_class, typ, metric_name, name, labelnames, labelvalues, help_text, mode
    )
    return Move(old, make, sets=typ == "gauge")


def _hold_all(olds: Iterable[Any], new_class: Any) -> list[Move]:
    """Keep what is counted in those values that nobody moves yet."""
    moves = [_move_of(old, new_class) for old in list(olds) if not is_claimed(old)]
    moves = [move for move in moves if move.claim()]
    for move in moves:
        move.hold()
    return moves


def _release(moves: Iterable[Move]) -> None:
    """Let values count again, where they are."""
    failures = []
    for move in moves:
        try:
            move.release()
        except Exception as error:  # noqa: BLE001 - an identifier may raise anything
            failures.append(error)
        if is_swapped(move.old):
            _moved.append(move)
    if failures:
        logger.warning(
            "what was counted meanwhile in %d series waits until they count again: %r",
            len(failures),
            failures[0],
        )


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
    old = move.old
    try:
        new = move.new
    except Exception as error:  # noqa: BLE001 - an identifier may raise anything
        name = old._params[2]  # noqa: SLF001
        logger.warning("could not move a series of %r, which counts in memory: %r", name, error)
        old._file = NoFile()  # noqa: SLF001
        move.stays = True
        return
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
            # Somebody is going to write what was taken over: where nobody reads it. What else they
            # count then is nowhere else.
            stock_file = file._f  # noqa: SLF001
            file._f, file._fname = _Memory(), os.devnull  # noqa: SLF001
            file._m = mmap.mmap(-1, file._capacity)  # noqa: SLF001
            stock_file.close()
    files.clear()


class _Memory:
    """Stands for a file, for prometheus_client's code, which truncates it before it maps it."""

    def truncate(self, size: int) -> None:
        """Do nothing: memory is as large as it is mapped."""

    def fileno(self) -> int:
        """Give what `mmap.mmap` takes for memory."""
        return -1

    def close(self) -> None:
        """Do nothing."""


def move_metrics(places: Iterable[Any]) -> None:
    """Move what metrics hold in memory into values of `prometheus_client.values.ValueClass`.

    Args:
        places: Metrics, and registries, whose metrics are moved.

    """
    values: Any = importlib.import_module("prometheus_client.values")
    for metric in observables.metrics_in(places):
        try:
            pairs = observables.renewed(metric, values.MutexValue)
        except Exception as error:  # noqa: BLE001 - a metric may be of any class
            logger.warning("could not move %r into shared files: %r", metric, error)
            continue
        is_most_recent = str(getattr(metric, "_multiprocess_mode", "")).endswith(_MOST_RECENT)
        is_gauge = getattr(metric, "_type", None) == "gauge"
        for old, new in pairs:
            move = Move(old, functools.partial(_same, new), sets=is_gauge)
            if move.claim():
                _replace(move, time.time() if is_most_recent else None)
    # What is left is carried out by who counts in the old value.
    observables.use_new(places, {id(move.old): move.new for move in list(_moved) if move.is_done})


def _same(value: Any) -> Any:
    return value


def _replace(move: Move, at: float | None) -> None:
    """Let the new value count what the old one, which counts in memory, has counted and will."""
    old, new = move.old, move.new
    move.hold()
    try:
        with alone(_lock_of(old)):
            there = new.get()
            held = move.swap()
            counted = _counted(vars(old).pop(_HANDED_BACK, None), there)
            if not move.sets:
                new.inc(held - counted)
            # A gauge that was never set stays so.
            elif held != 0 or counted != 0:
                new.set(held, at)
    finally:
        _release([move])


def _counted(handed_back: _HandedBack | None, there: float) -> float:
    """Say how much of what a value holds is in a file, by what uninstall() gave it back."""
    if handed_back is None:
        return 0.0
    # It is in the file of the parent of this process; or in that of this one if there is as much,
    # or more: whoever else counts in the series may have gone on.
    is_known = handed_back.pid != os.getpid() or abs(there) >= abs(handed_back.value)
    return handed_back.value if is_known else 0.0


def _lock_of(old: Any) -> Any:
    """Give the lock under which a value in memory counts, which one of another class may lack."""
    return vars(old).get("_lock") or threading.Lock()


def move_back(stock_class: Any = None, new_class: Any = None) -> bool:
    """Undo what was moved: the old values count again, from what the new ones hold.

    Args:
        stock_class: A class of prometheus_client's that is to count in files again.
        new_class: The class that counts there now.

    Returns:
        Whether all of them do. Those in which a count did not end are left to another call, since
        prometheus_client's code would wait for it.

    """
    moves = list(_moved)
    del _moved[: len(moves)]
    observables.use_old({id(move.new): move.old for move in moves})
    in_memory = [move for move in moves if not hasattr(move.old, "_params")]
    classes = {m.stock_class: type(m.new) for m in moves if hasattr(m.old, "_params")}
    if stock_class is not None:
        classes[stock_class] = new_class
    given: list[tuple[Move, float]] = []
    try:
        for move in moves:
            move.hold()
        for its_class, its_new_class in classes.items():
            its_moves = [move for move in moves if move.stock_class is its_class]
            _read_back(its_class, its_new_class, its_moves)
        for move in in_memory:
            _give_back(move, given)
    finally:
        _release(moves)
        for move, value in given:
            _give_rest(move, value)
    are_classes_back = not any(map(_is_diverted, classes))
    return are_classes_back and not any(is_swapped(move.old) for move in moves)


def _read_back(stock_class: Any, new_class: Any, moves: list[Move]) -> None:
    """Let values of prometheus_client's count on in its files."""
    around = _closure(stock_class)
    with alone(around["lock"]) as is_alone:
        if not is_alone:
            return
        if _notice_fork(around, around["process_identifier"]()):
            _close(around["files"], is_alone=True)
        # Its code goes on in them, and locks none.
        new_class._owner.hand_over()  # noqa: SLF001
        _divert_no_more(stock_class)
        for move in moves:
            move.restore()
            try:
                move.old._MmapedValue__reset()  # noqa: SLF001
            except BaseException:
                move.forward()
                raise


def _give_back(move: Move, given: list[tuple[Move, float]]) -> None:
    """Let a value in memory count on from what the new one holds, and note that in `given`."""
    with alone(_lock_of(move.old)) as is_alone:
        if not is_alone:
            return
        value: float = move.new.get()
        # Not seen as long as its class has a property of that name.
        vars(move.old)["_value"] = value
        move.restore()
        given.append((move, value))


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
