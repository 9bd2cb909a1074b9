"""Puts multiprom behind prometheus_client's own names."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from multiprom.stock import original, refresh

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where install() replaced something: module and name. A list, since appending is atomic.
_replaced: list[tuple[str, str]] = []

# Our names that replace prometheus_client's, by the modules here that hold them.
_REPLACEMENTS = {
    "multiprom.collector": ("MultiProcessCollector", "mark_process_dead"),
    "multiprom.exposition": (
        "generate_latest",
        "openmetrics_latest",
        "_bake_output",
        "make_wsgi_app",
        "make_asgi_app",
        "start_http_server",
    ),
}


def install() -> None:
    """Put multiprom behind prometheus_client's own names, in this process.

    Replaces `MultiProcessCollector`, `mark_process_dead`, both `generate_latest` (Prometheus text
    and OpenMetrics), `make_wsgi_app`, `make_asgi_app` and `start_http_server` (also named
    `start_wsgi_server`) in prometheus_client and in every imported module that had them as a
    global, such as by `from prometheus_client import generate_latest`. The text of collectors of
    prometheus_client's class that exist already is made in Rust from then on, also by applications
    and handlers that exist already; their `collect()` stays prometheus_client's.

    What cannot be reached: a function that was put elsewhere before, such as into a default
    argument, a closure, a `functools.partial`, or an attribute of a class or object. Such a place
    goes on with prometheus_client's code, which gives the same text, only slower. So call it
    early, before or after prometheus_client is imported.

    If PROMETHEUS_MULTIPROC_DIR is set, but prometheus_client was imported before it was, metrics
    that are made from now on count in files, as if it had been set in time.

    May be called again, such as after prometheus_client was imported anew.
    """
    importlib.import_module("prometheus_client")
    refresh()
    replacements = {id(original(ours)): ours for ours in _ours() if original(ours) is not ours}
    for module_name, name, value in _globals():
        if id(value) in replacements and _set(module_name, name, replacements[id(value)]):
            _replaced.append((module_name, name))
    values: Any = importlib.import_module("prometheus_client.values")
    is_set = {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"} & os.environ.keys()
    if is_set and values.ValueClass is values.MutexValue:
        values.ValueClass = values.get_value_class()
        values._multiprom_set_value_class = values.ValueClass  # noqa: SLF001


def uninstall() -> None:
    """Undo `install`: put prometheus_client's own code behind its names again.

    Metrics that were made meanwhile stay as they are, and so does what other modules imported
    meanwhile: they go on with multiprom's code.
    """
    places = set(_replaced)
    _replaced.clear()
    for module_name, name, value in _globals():
        is_stock = module_name.partition(".")[0] == "prometheus_client"
        if original(value) is not value and (is_stock or (module_name, name) in places):
            _set(module_name, name, original(value))
    values: Any = sys.modules.get("prometheus_client.values")
    if values is not None:
        # If it was replaced once more, it is not ours to undo.
        if vars(values).get("_multiprom_set_value_class") is values.ValueClass:
            values.ValueClass = values.MutexValue
        vars(values).pop("_multiprom_set_value_class", None)


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
