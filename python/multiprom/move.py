"""One value of prometheus_client's that another one replaces, with threads that count in it."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from multiprom.pending import METHODS, Methods, Pending, methods_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# On an old value: its move.
_MOVE = "_multiprom_move"

# How long to wait for a thread that counts; it takes microseconds, unless it is suspended.
_SECONDS = 1.0


class Move:
    """An old value of prometheus_client's, and the new one that counts in its place.

    There are three steps, one way and back: `hold` keeps what is counted from now on; when nobody
    is in prometheus_client's code any more what the old value holds goes to the new one, and
    `release` lets what was kept follow.
    """

    def __init__(self, old: Any, new: Any, *, sets: bool) -> None:
        self.old = old
        self.new = new
        # Whether what is stored into the value is what it is set to: it is a gauge.
        self.sets = sets
        # What the old value held.
        self.seen = 0.0
        self._pending = Pending()

    def claim(self) -> bool:
        """Say whether this is the one to move the old value: in another thread there may be one."""
        return vars(self.old).setdefault(_MOVE, self) is self

    def hold(self) -> None:
        """Keep what is counted in the old value."""
        self._pending.hold(self._known, methods_of(self.new))
        self._redirect(methods_of(self._pending))

    def swap(self) -> float:
        """Let prometheus_client's code count in the new value too, where it was called before.

        Returns:
            What the old value held.

        """
        attributes = vars(self.old)
        self.seen = attributes["_value"]
        self._forward()
        # Once more, in case of a thread that nobody could wait for.
        held: float = attributes["_value"]
        return held

    def release(self) -> None:
        """Let the new value count."""
        vars(self.old).pop("_value", None)
        self._pending.release()
        self._redirect(methods_of(self.new))

    def hold_back(self) -> None:
        """Keep what is counted in the old value, to be counted by itself again."""
        own: Methods = {
            name: functools.partial(getattr(self._stock, name), self.old) for name in METHODS
        }
        self._pending.hold(self.new.get, own)
        self._redirect(methods_of(self._pending))

    def restore(self) -> None:
        """Let prometheus_client's code count in the old value itself."""
        self.old.__class__ = self._stock

    def swap_again(self) -> None:
        """Undo `restore`."""
        self._forward()

    def release_back(self) -> None:
        """Let the old value count."""
        self._pending.release()
        attributes = vars(self.old)
        for name in METHODS:
            attributes.pop(name, None)
        # Where it could not be restored it counts in the new value still.
        if not is_swapped(self.old):
            attributes.pop(_MOVE, None)

    @property
    def _stock(self) -> Any:
        kind = type(self.old)
        return getattr(kind, "_stock_class", kind)

    def _known(self) -> float:
        held: float | None = vars(self.old).get("_value")
        return self.new.get() if held is None else held

    def _forward(self) -> None:
        base: Any = type(self.old)
        self.old.__class__ = _forwarding(base)

    def _redirect(self, methods: Methods) -> None:
        vars(self.old).update(methods)


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
    is_alone = lock.acquire(timeout=_SECONDS)
    try:
        yield is_alone
    finally:
        if is_alone:
            lock.release()


class _Total(float):
    """What a new value holds, for code that is going to add to it, and to store the sum."""

    __slots__ = ()

    def __add__(self, amount: float) -> _Sum:
        # Added once only: that may run any code.
        amount = 0.0 + amount
        found = _Sum(float(self) + amount)
        found.amount = amount
        return found


class _Sum(float):
    """A total with something added, which only that is to be counted of."""

    __slots__ = ("amount",)

    amount: float


@functools.cache
def _forwarding(base: Any) -> Any:
    """Give a class of values whose `_value`, in which `base` counts, is that of the new value."""

    def load(self: Any) -> float:
        return _Total(vars(self)[_MOVE].new.get())

    def store(self: Any, value: float) -> None:
        move: Move = vars(self)[_MOVE]
        if isinstance(value, _Sum):
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
    """Stands for the file of a moved value, into which prometheus_client writes what it stored."""

    def __init__(self, new: Any) -> None:
        self._new = new

    def write_value(self, _key: str, value: float, timestamp: float) -> None:
        """Set the timestamp: the value was counted when it was stored."""
        if timestamp:
            self._new.set(value, timestamp)
