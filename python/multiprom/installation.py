"""Puts multiprom behind prometheus_client's own names."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from multiprom import _core, moving
from multiprom.environment import VARIABLE
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

# What install() did to the variable, to be undone: its value before, and the one set.
_variable: dict[str, str | None] = {}


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
    goes on with prometheus_client's code, which gives the same text, only slower.

    Call it when the process starts: before or after prometheus_client is imported, before or after
    metrics are made, before or after PROMETHEUS_MULTIPROC_DIR is set. Metrics count in shared files
    as soon as the variable names a directory: that is looked up here, whenever a metric or child is
    made, whenever a `MultiProcessCollector` is made, and when the process ends. Until then they
    count in memory, and what they have counted moves along: that of metrics in prometheus_client's
    `REGISTRY`, in `also`, and of all made after this call. Earlier ones of another registry cannot
    be found: name it in `also`. A metric that cannot move stays in memory, with a warning.

    A thread that is inside one of prometheus_client's own counts when the value moves may lose that
    count. Nothing raises, nothing waits, and no total falls. A method of a value that was looked up
    before goes on in memory (`counter._value.inc`, but not one of a metric, as `counter.inc`).

    Call it from one thread. Children that are forked later leave what was counted in memory to
    their parent. A child may be the first to call it, but takes what its parent had counted in
    memory before the fork for its own: so call it before that fork if there are such counts.

    May be called again: after prometheus_client was imported anew, with more in `also`, or with
    another directory, to which metrics move on with what they have counted. It is added to what
    files of an earlier process of the same pid have there, and the old files are removed: else a
    return to the old directory would count it twice.

    Args:
        path: The directory, which is made if it is missing; PROMETHEUS_MULTIPROC_DIR is set to it.
            Default: what the variable says, now or later. An empty one is as good as unset.
        also: Further registries, or metrics that are in no registry.

    Raises:
        OSError: The directory `path` cannot be made.
        ValueError: `path` is empty.
        Exception: Whatever a `process_identifier` of the program's raises.

    """
    # Before the variable is set, so that no value class of prometheus_client's needs to be moved.
    importlib.import_module("prometheus_client")
    if path is not None:
        _set_directory(os.fsdecode(path))
    _replace_all()
    moving.share(also)


def _set_directory(path: str) -> None:
    if not path:
        raise ValueError("the path of the directory is empty")
    Path(path).mkdir(parents=True, exist_ok=True)
    _variable.setdefault("before", os.environ.get(VARIABLE))
    _variable["set"] = os.environ[VARIABLE] = path


def _replace_all() -> None:
    """Put our names where prometheus_client's are."""
    refresh()
    replacements = {id(original(ours)): ours for ours in _ours() if original(ours) is not ours}
    for module_name, name, value in _globals():
        if id(value) in replacements and _set(module_name, name, replacements[id(value)]):
            _replaced.append((module_name, name))


def uninstall() -> None:
    """Undo `install`: put prometheus_client's own code behind its names again. For tests.

    Values that counted in memory when `install` moved them do so again, with what they hold. Those
    that prometheus_client's multiprocess mode had made keep counting in multiprom's files, and so
    do those that it makes from now on: a file with two writers would be damaged. Metrics that were
    made meanwhile stay as they are, and so does what other modules imported meanwhile: they go on
    with multiprom's code. PROMETHEUS_MULTIPROC_DIR is what it was, if `install` set it.

    A thread that counts meanwhile may lose that one count; nothing raises, and nothing waits.

    """
    _restore_all()
    _core.remove_methods()
    moving.unshare()
    _reset_directory()


def _restore_all() -> None:
    """Put prometheus_client's names where ours are."""
    places = set(_replaced)
    for module_name, name, value in _globals():
        is_stock = module_name.partition(".")[0] == "prometheus_client"
        if original(value) is not value and (is_stock or (module_name, name) in places):
            _set(module_name, name, original(value))
    _replaced.clear()


def _reset_directory() -> None:
    """Set the variable to what it was."""
    if _variable and os.environ.get(VARIABLE) == _variable["set"]:
        os.environ.pop(VARIABLE)
        if _variable["before"] is not None:
            os.environ[VARIABLE] = _variable["before"]
    _variable.clear()


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
