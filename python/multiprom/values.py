"""`MultiProcessValue`: the values of metrics, counted in shared memory in Rust."""

from __future__ import annotations

import atexit
import importlib
import os
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client import values as stock_values

from multiprom import _core
from multiprom.environment import named_directory
from multiprom.stock import bind, is_genuine, original, replaces

if TYPE_CHECKING:
    from collections.abc import Callable


class _Patchable(type):
    """The type of value classes, of which tests of applications patch methods."""

    _value_class: _core.ValueClass

    def __setattr__(cls, name: str, value: object) -> None:
        super().__setattr__(name, value)
        cls._value_class.heed_patches()


def MultiProcessValue(  # noqa: N802 - prometheus_client's name
    process_identifier: Callable[[], object] = os.getpid,
) -> type[Any]:
    """Make a value class whose values are counted in files of the process that counts.

    As `prometheus_client.values.MultiProcessValue`; prometheus_client can read its files. What is
    different (docs/compatibility.md has all of it): an operation takes no lock and makes no system
    call; each file is locked while its process lives, so that another process of the same name
    writes `{type}_{identifier}-1.db`, with a warning; what cannot be written is counted in memory
    and written later, and nothing is raised.

    Args:
        process_identifier: Returns what names the process in the names of its files. When called
            in processes that run at the same time it must return distinct values.

    Returns:
        A class with the signature and methods of prometheus_client's value classes.

    Raises:
        Exception: Whatever `process_identifier` raises, here and where a value is used.
        OSError: The system has no room for one more handler of forks.

    """
    values: Any = importlib.import_module("prometheus_client.values")
    # Where it is prometheus_client's own the core knows what it returns, and need not call it.
    key: Any = importlib.import_module("prometheus_client.mmap_dict").mmap_key
    value_class = _core.ValueClass(
        None if process_identifier is os.getpid else process_identifier,
        values,
        key if is_genuine(key, "prometheus_client.mmap_dict", "mmap_key") else None,
    )

    class MmapedValue(_core.Value, metaclass=_Patchable):
        """A float in a file that all processes can read."""

        # No __slots__: tests of applications patch methods of single values.

        _multiprocess = True
        _value_class = value_class

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            # It may have been a method.
            self.heed_patches()

        @classmethod
        def close_all_files(cls) -> None:
            """Close the files of this class.

            Its values keep what they hold, and one that counts again continues its file. Until the
            class is dropped or the process ends the files stay locked, so that nobody takes them
            for those of a dead process.
            """
            value_class.close()

    return MmapedValue


def get_value_class() -> type[Any]:
    """Give the class that values are of, by the environment.

    As `prometheus_client.values.get_value_class`: a class made by the `MultiProcessValue` that is
    in `prometheus_client.values` if PROMETHEUS_MULTIPROC_DIR (or its lower-case form, which is
    deprecated) is set, else prometheus_client's `MutexValue`.
    """
    values: Any = importlib.import_module("prometheus_client.values")
    if not named_directory():
        mutex_value: type[Any] = values.MutexValue
        return mutex_value
    make = values.MultiProcessValue
    is_stock = is_genuine(make, "prometheus_client.values", "MultiProcessValue")
    # A program may have put one of its own there.
    value_class: type[Any] = MultiProcessValue() if is_stock else make()
    return value_class


_STOCK = original(stock_values.MultiProcessValue)
_STOCK_CHOICE = original(stock_values.get_value_class)
_is_bound = is_genuine(_STOCK, "prometheus_client.values", "MultiProcessValue")
if _is_bound:
    replaces(MultiProcessValue, _STOCK)
if is_genuine(_STOCK_CHOICE, "prometheus_client.values", "get_value_class"):
    replaces(get_value_class, _STOCK_CHOICE)

bind(__name__, prometheus_client if _is_bound else None)

# What is still counted in memory, because of a full disk or the like, gets a last chance.
atexit.unregister(_core.write_unwritten)
atexit.register(_core.write_unwritten, at_end=True)
