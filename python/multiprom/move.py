"""One value of prometheus_client's that another one replaces, with threads that count in it."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

from multiprom.pending import METHODS, Methods, Pending, methods_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# On an old value: its move.
_MOVE = "_multiprom_move"

# How long to wait for a thread that counts; it takes microseconds, unless it is suspended.
SECONDS = 1.0


class Move:
    """An old value of prometheus_client's, and the new one that counts in its place.

    There are three steps, one way and back: `hold` keeps what is counted from now on; when nobody
    is in prometheus_client's code any more the values are exchanged (`swap`, `restore`); `release`
    lets what was kept follow, wherever the value counts by then.
    """

    def __init__(self, old: Any, make: Callable[[], Any], *, sets: bool) -> None:
        self.old = old
        # Whether what is stored into the value is what it is set to: it is a gauge.
        self.sets = sets
        # What the old value held.
        self.seen = 0.0
        # Whether it cannot move, and no other call shall try.
        self.stays = False
        self._make = make
        self.stock_class: Any = type(old)
        self._pid = os.getpid()
        self._pending = Pending(self._known, self._methods)

    @functools.cached_property
    def new(self) -> Any:
        """The new value, which is made when it is asked for."""
        return self._make()

    def claim(self) -> bool:
        """Say whether this is the one to move the old value: in another thread there may be one."""
        return vars(self.old).setdefault(_MOVE, self) is self

    def hold(self) -> None:
        """Keep what is counted in the old value."""
        self._pid = os.getpid()
        self._pending.hold()
        vars(self.old).update(methods_of(self._pending))

    def swap(self) -> float:
        """Let prometheus_client's code count in the new value too, where it was called before.

        Returns:
            What the old value held.

        """
        # It must be there: from here on it is counted in.
        _ = self.new
        attributes = vars(self.old)
        self.seen = attributes["_value"]
        self.forward()
        # Once more, in case of a thread that nobody could wait for.
        self.seen = attributes["_value"]
        return self.seen

    def forward(self) -> None:
        """Let prometheus_client's code count in the new value."""
        self.old.__class__ = _forwarding(self.stock_class)

    def restore(self) -> None:
        """Let prometheus_client's code count in the old value itself."""
        self.old.__class__ = self.stock_class

    @property
    def is_done(self) -> bool:
        """Whether nothing that was kept is left."""
        return self._pending.is_empty

    def release(self) -> None:
        """Let the new value count, or the old one if it was not exchanged."""
        attributes = vars(self.old)
        if is_swapped(self.old):
            attributes.pop("_value", None)
        self._pending.release()
        if is_swapped(self.old):
            attributes.update(methods_of(self.new))
        else:
            for name in METHODS:
                attributes.pop(name, None)
            if not self.stays:
                attributes.pop(_MOVE, None)

    def _known(self) -> float:
        held: float | None = vars(self.old).get("_value")
        return self.new.get() if held is None else held

    def _methods(self) -> Methods:
        # In the child of a fork a thread that is not there may have prometheus_client's lock.
        if is_swapped(self.old) or self._pid != os.getpid():
            return methods_of(self.new)
        return {
            name: functools.partial(getattr(self.stock_class, name), self.old) for name in METHODS
        }


def is_claimed(old: Any) -> bool:
    """Say whether a value was moved, or is just being moved."""
    return _MOVE in vars(old)


def is_swapped(old: Any) -> bool:
    """Say whether prometheus_client's code counts elsewhere for this value."""
    return hasattr(type(old), "_stock_class")


@contextlib.contextmanager
def alone(lock: Any) -> Iterator[bool]:
    """Hold the lock under which prometheus_client counts, as long as nobody here needs it.

    So only in values whose operations are kept. False if the lock could not be had: the count of
    another thread does not end, or this thread itself has interrupted one.
    """
    is_alone = lock.acquire(timeout=SECONDS)
    try:
        yield is_alone
    finally:
        if is_alone:
            lock.release()


class _Total(float):
    """What a new value holds, for code that is going to add to it, and to store the sum."""

    __slots__ = ("move",)

    move: Move

    def __add__(self, amount: float) -> _Sum:
        # Added once only: that may run any code.
        amount = 0.0 + amount
        found = _Sum(float(self) + amount)
        found.move = self.move
        found.amount = amount
        return found


class _Sum(float):
    """The total of a value with something added, which only that is to be counted of there."""

    __slots__ = ("amount", "move")

    move: Move
    amount: float


@functools.cache
def _forwarding(base: Any) -> Any:
    """Give a class of values whose `_value`, in which `base` counts, is that of the new value."""

    def load(self: Any) -> float:
        move: Move = vars(self)[_MOVE]
        total = _Total(move.new.get())
        total.move = move
        return total

    def store(self: Any, value: float) -> None:
        move: Move = vars(self)[_MOVE]
        if isinstance(value, _Sum) and value.move is move:
            move.new.inc(value.amount)
        elif move.sets:
            move.new.set(value)
        else:
            # The sum with what was loaded before the move, which has counted that already.
            move.new.inc(value - move.seen)

    def stay(_self: Any) -> None:
        """Open no file, where prometheus_client notices a fork."""

    attributes = {
        "_value": property(load, store),
        "_stock_class": base,
        "_MmapedValue__reset": stay,
    }
    return type(base.__name__, (base,), attributes)


class NoFile:
    """Stands for the file of a value that moved, or could not, for prometheus_client's code."""

    def __init__(self, new: Any = None) -> None:
        self._new = new

    def write_value(self, _key: str, value: float, timestamp: float) -> None:
        """Set the timestamp: the value was counted when it was stored."""
        if self._new is not None and timestamp:
            self._new.set(value, timestamp)
