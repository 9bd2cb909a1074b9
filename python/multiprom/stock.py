"""prometheus_client as it is without multiprom.

Its names are looked up as module attributes whenever they are needed, because programs replace
them, `multiprom.install()` among these, and because test suites delete prometheus_client from
`sys.modules` and import it anew.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from types import ModuleType

T = TypeVar("T")

_ORIGINAL = "_multiprom_original"

# The modules of ours that took names from one import of prometheus_client, and that import; None
# if it was patched then. A module comes behind those that it imports.
_bound: dict[str, ModuleType | None] = {}


def original(name: T) -> T:
    """Give what `name` replaces, if it is one of multiprom's; else `name` itself."""
    # Not getattr: a mock has every attribute, and a subclass of ours replaces nothing. And with
    # its id: functools.wraps copies attributes to functions that are not ours.
    attributes: dict[str, Any] = getattr(name, "__dict__", {})
    owner, replaced = attributes.get(_ORIGINAL, (None, None))
    return cast("T", replaced) if owner == id(name) else name


def replaces(replacement: T, stock: object) -> T:
    """Note on `replacement` that it stands for prometheus_client's `stock`; give it back."""
    setattr(replacement, _ORIGINAL, (id(replacement), stock))
    return replacement


def is_genuine(name: object, module: str, qualified_name: str) -> bool:
    """Say whether `name` is prometheus_client's own, and no mock or other replacement of it."""
    found = (getattr(name, "__module__", None), getattr(name, "__qualname__", None))
    return found == (module, qualified_name)


def bind(module: str, prometheus_client: ModuleType | None) -> None:
    """Note the import of prometheus_client that a module of ours is bound to; None to bind anew."""
    _bound[module] = prometheus_client


def refresh() -> None:
    """Bind multiprom anew if prometheus_client was imported anew, or was patched when bound."""
    current = sys.modules.get("prometheus_client")
    if current is None:
        # Importing it now would decide how metrics count before the program wants it decided.
        return
    for name, bound in list(_bound.items()):
        if bound is not current and name in sys.modules:
            importlib.reload(sys.modules[name])
