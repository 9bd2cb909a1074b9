"""Prometheus metrics of many worker processes: prometheus_client's multiprocess mode, in Rust.

Same directory, same files, same names as prometheus_client: `install()` puts multiprom behind
prometheus_client's own names; or use the names here. `multiprom.gunicorn` does it for gunicorn.

Importing multiprom does not import prometheus_client, which decides at import, by
PROMETHEUS_MULTIPROC_DIR, how metrics count: the variable may still be set after
`import multiprom`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "multiprom runs on Linux (it is written for macOS too, but was never run there), not on "
        "Windows: it shares metrics through POSIX files (prometheus_client alone works on Windows)"
    )

from multiprom._core import __version__, limit_series

if TYPE_CHECKING:
    from multiprom.cli.inspection import (
        FamilySize,
        FileSeen,
        Inspection,
        Problem,
        ProcessSeen,
        Usage,
        inspect,
    )
    from multiprom.collector import MultiProcessCollector, mark_process_dead
    from multiprom.compaction import Compaction, LeftAlone, compact
    from multiprom.exposition import (
        CONTENT_TYPE_LATEST,
        generate_latest,
        make_asgi_app,
        make_wsgi_app,
        start_http_server,
    )
    from multiprom.installation import install, uninstall
    from multiprom.reports import LeftOut, left_out
    from multiprom.values import MultiProcessValue, get_value_class

__all__ = (
    "CONTENT_TYPE_LATEST",
    "Compaction",
    "FamilySize",
    "FileSeen",
    "Inspection",
    "LeftAlone",
    "LeftOut",
    "MultiProcessCollector",
    "MultiProcessValue",
    "Problem",
    "ProcessSeen",
    "Usage",
    "__version__",
    "compact",
    "generate_latest",
    "get_value_class",
    "inspect",
    "install",
    "left_out",
    "limit_series",
    "make_asgi_app",
    "make_wsgi_app",
    "mark_process_dead",
    "start_http_server",
    "uninstall",
)

_NAMES = {
    "multiprom.cli.inspection": (
        "FamilySize",
        "FileSeen",
        "Inspection",
        "Problem",
        "ProcessSeen",
        "Usage",
        "inspect",
    ),
    "multiprom.collector": ("MultiProcessCollector", "mark_process_dead"),
    "multiprom.compaction": ("Compaction", "LeftAlone", "compact"),
    "multiprom.exposition": (
        "CONTENT_TYPE_LATEST",
        "generate_latest",
        "make_asgi_app",
        "make_wsgi_app",
        "start_http_server",
    ),
    "multiprom.installation": ("install", "uninstall"),
    "multiprom.reports": ("LeftOut", "left_out"),
    "multiprom.values": ("MultiProcessValue", "get_value_class"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home not in ("multiprom.cli.inspection", "multiprom.compaction", "multiprom.reports"):
        importlib.import_module("multiprom.stock").refresh()
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
