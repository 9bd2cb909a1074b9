"""Puts multiprom behind prometheus_client's own names."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from multiprom import moving, signals
from multiprom.environment import OLD_VARIABLE, VARIABLE
from multiprom.reports import logger
from multiprom.stock import original, refresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where install() replaced something: module and name. A list, since appending is atomic.
_replaced: list[tuple[str, str]] = []

# Our names that replace prometheus_client's, by the modules here that hold them.
_REPLACEMENTS = {
    "multiprom.collector": ("MultiProcessCollector", "mark_process_dead"),
    "multiprom.values": ("MultiProcessValue", "get_value_class"),
    "multiprom.exposition": (
        "generate_latest",
        "openmetrics_latest",
        "_bake_output",
        "make_wsgi_app",
        "make_asgi_app",
        "start_http_server",
    ),
}


class _Before(NamedTuple):
    """What install() found, to be put back."""

    variable: str | None
    set_to: str


# A list, so that it is changed in one step; empty or with one item.
_before: list[_Before] = []


def install(path: str | os.PathLike[str] | None = None, also: Iterable[Any] = ()) -> None:
    """Put multiprom behind prometheus_client's own names, in this process.

    Replaces `MultiProcessCollector`, `mark_process_dead`, both `generate_latest` (Prometheus text
    and OpenMetrics), `make_wsgi_app`, `make_asgi_app`, `start_http_server` (also named
    `start_wsgi_server`), `MultiProcessValue` and `get_value_class` in prometheus_client and in
    every imported module that had them as a global, such as by `from prometheus_client import
    generate_latest`. The text of collectors of prometheus_client's class that exist already is made
    in Rust from then on, also by applications and handlers that exist already; their `collect()`
    stays prometheus_client's.

    What cannot be reached: a function that was put elsewhere before, such as into a default
    argument, a closure, a `functools.partial`, or an attribute of a class or object. Such a place
    goes on with prometheus_client's code, which gives the same text, only slower. So call it
    early, before or after prometheus_client is imported.

    If PROMETHEUS_MULTIPROC_DIR is set, or `path` is given, metrics count in shared files from then
    on, whenever they were made and whenever the variable was set: those in prometheus_client's
    `REGISTRY` get shared values that start with what they had counted, and so do those in `also`.
    Values of prometheus_client's multiprocess mode are continued wherever they are. Who keeps an
    old value, such as a child in a variable, counts in the new one.

    Call it before the process forks: a child that calls it takes what was counted in memory before
    the fork for its own, and its parent does so too.

    Other threads may count meanwhile. It waits up to a second for one that is in the midst of a
    count of prometheus_client's, of each value in memory or of all in files. The handlers of
    signals that arrive meanwhile, such as Ctrl-C, are called when it is done.

    May be called again, such as after prometheus_client was imported anew, or with more in `also`.

    Args:
        path: The directory, which is made if it is missing; PROMETHEUS_MULTIPROC_DIR is set to it.
            Default: what the variable says, if it is set.
        also: Further registries, or metrics that are in no registry.

    Raises:
        OSError: The directory `path` cannot be made.
        ValueError: `path` is empty.

    """
    if path is not None:
        _set_directory(os.fsdecode(path))
    with signals.deferred():
        # So are modules imported: one that is left half way can never be imported again.
        importlib.import_module("prometheus_client")
        _replace_all()
        if {VARIABLE, OLD_VARIABLE} & os.environ.keys():
            _share_values(also)


def _set_directory(path: str) -> None:
    if not path:
        raise ValueError("the path of the directory is empty")
    Path(path).mkdir(parents=True, exist_ok=True)
    if not _before:
        _before.append(_Before(os.environ.get(VARIABLE), path))
    else:
        _before[0] = _before[0]._replace(set_to=path)
    os.environ[VARIABLE] = path


def _replace_all() -> None:
    """Put our names where prometheus_client's are."""
    refresh()
    replacements = {id(original(ours)): ours for ours in _ours() if original(ours) is not ours}
    for module_name, name, value in _globals():
        if id(value) in replacements and _set(module_name, name, replacements[id(value)]):
            _replaced.append((module_name, name))


def _share_values(also: Iterable[Any]) -> None:
    """Let metrics count in shared files: those to come, and those that exist."""
    values: Any = importlib.import_module("prometheus_client.values")
    ours: Any = importlib.import_module("multiprom.values")
    found = values.ValueClass
    identifier = moving.stock_identifier(found)
    if identifier is not None:
        values.ValueClass = ours.MultiProcessValue(identifier)
    elif found is values.MutexValue:
        values.ValueClass = values.get_value_class()
    if values.ValueClass is not found:
        values._multiprom_value_classes = (values.ValueClass, found)  # noqa: SLF001
    current, stock_class = _value_classes(values)
    if moving.stock_identifier(stock_class) is not None:
        moving.move_class(stock_class, current)
    moving.move_metrics([_default_registry(), *also])


def _value_classes(values: Any) -> tuple[Any, Any]:
    """Give the class that counts in shared files, and the one in whose place; or None twice."""
    ours, found = vars(values).get("_multiprom_value_classes", (None, None))
    # If it was replaced once more, it is not ours to undo.
    return (ours, found) if ours is not None and values.ValueClass is ours else (None, None)


def _default_registry() -> Any:
    return importlib.import_module("prometheus_client.registry").REGISTRY


def uninstall() -> None:
    """Undo `install`: put prometheus_client's own code behind its names again.

    Values that `install` moved into shared files move back, with what they hold. The variable that
    it set is what it was. Metrics that were made meanwhile stay as they are, and so does what other
    modules imported meanwhile: they go on with multiprom's code. Where prometheus_client's code
    goes on in shared files, such metrics count in files of their own from then on, and a gauge
    leaves in the old one what it was last set to.

    Other threads may count meanwhile, but for one that has looked up a method of a shared value and
    calls it only after this has returned: it counts in the shared files alone. Where
    prometheus_client's code goes on in them that may be a file beside its own: scrapes have the
    count then, and `get()` of the value does not.

    It waits up to a second for one that is in the midst of a count of prometheus_client's. Where
    that does not end, values stay where they are, with a warning. The handlers of signals that
    arrive meanwhile are called when it is done.

    Raises:
        OSError: prometheus_client's code cannot open its files again. Its values count in
            multiprom's then.

    """
    with signals.deferred():
        _restore_all()
        if _unshare_values():
            _reset_directory()


def _restore_all() -> None:
    """Put prometheus_client's names where ours are."""
    places = set(_replaced)
    _replaced.clear()
    for module_name, name, value in _globals():
        is_stock = module_name.partition(".")[0] == "prometheus_client"
        if original(value) is not value and (is_stock or (module_name, name) in places):
            _set(module_name, name, original(value))


def _unshare_values() -> bool:
    """Let values that count in shared files count where they did; False if some stay."""
    values: Any = sys.modules.get("prometheus_client.values")
    if values is not None:
        ours, found = _value_classes(values)
        is_stock = moving.stock_identifier(found) is not None
        if not (moving.move_back(found, ours) if is_stock else moving.move_back()):
            logger.warning(
                "some values still count in shared files, since a count in prometheus_client's "
                "code did not end; another uninstall() may move them"
            )
            return False
        # Not before: what a thread makes meanwhile must not add to a file that is ours still.
        if ours is not None:
            values.ValueClass = found
        vars(values).pop("_multiprom_value_classes", None)
    return True


def _reset_directory() -> None:
    """Set the variable to what it was."""
    while _before:
        variable, set_to = _before.pop()
        if os.environ.get(VARIABLE) == set_to:
            os.environ.pop(VARIABLE)
            if variable is not None:
                os.environ[VARIABLE] = variable


def _ours() -> list[Any]:
    return [
        getattr(importlib.import_module(module), name)
        for module, names in _REPLACEMENTS.items()
        for name in names
    ]


def _globals() -> Iterator[tuple[str, str, Any]]:
    """Give module, name and value of every global of the imported modules, but our own."""
    for module_name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or module_name.partition(".")[0] == "multiprom":
            continue
        # Not getattr: a lazy module would import things. Nor vars, which a module may refuse.
        for name, value in list(ModuleType.__getattribute__(module, "__dict__").items()):
            yield module_name, name, value


def _set(module_name: str, name: str, value: object) -> bool:
    """Set a global; False if the module does not let us, or is gone: then it stays as it is."""
    try:
        setattr(sys.modules[module_name], name, value)
    except Exception:  # noqa: BLE001 - a module may be of any class
        return False
    return True
