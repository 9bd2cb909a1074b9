"""Puts multiprom behind prometheus_client's own names."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from multiprom.stock import original, refresh

if TYPE_CHECKING:
    from collections.abc import Callable

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
    replacements = {id(original(ours)): ours for ours in _ours()}
    _replace(lambda value: replacements.get(id(value), value))
    values: Any = importlib.import_module("prometheus_client.values")
    is_set = {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"} & os.environ.keys()
    if is_set and values.ValueClass is values.MutexValue:
        values.ValueClass = values.get_value_class()
        values._multiprom_set_value_class = values.ValueClass  # noqa: SLF001


def uninstall() -> None:
    """Undo `install`: put prometheus_client's own code behind its names again.

    Metrics that were made meanwhile stay as they are.
    """
    if "prometheus_client" not in sys.modules:
        return
    # By their marks: those that replaced an earlier import of prometheus_client go as well.
    _replace(original)
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


def _replace(replacement_of: Callable[[Any], Any]) -> None:
    """Replace objects wherever an imported module has them as a global."""
    for module_name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or module_name.partition(".")[0] == "multiprom":
            continue
        # vars, not getattr: a lazy module would import things.
        for name, value in list(vars(module).items()):
            replacement = replacement_of(value)
            if replacement is not value:
                setattr(module, name, replacement)
