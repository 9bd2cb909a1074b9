"""prometheus_client as it is installed: the reference, and what its versions have and lack."""

from __future__ import annotations

import glob
import inspect
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from prometheus_client import CollectorRegistry, exposition, mmap_dict, multiprocess, values
from prometheus_client.metrics import Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# prometheus_client is typed in part only; and install() must not change what is compared with.
generate_latest: Any = exposition.generate_latest
openmetrics_latest: Any = openmetrics.generate_latest
MultiProcessCollector: Any = multiprocess.MultiProcessCollector
mark_process_dead: Any = multiprocess.mark_process_dead
MultiProcessValue: Any = values.MultiProcessValue

GAUGE_MODES = tuple(sorted(Gauge._MULTIPROC_MODES))
# Projects add modes of their own to the set; a mode that nobody knows behaves as `all`.
EXTRA_MODE = "median"


def _has_utf8_names() -> bool:
    try:
        Metric("a.b", "", "gauge")
    except ValueError:
        return False
    return True


def _escapings() -> tuple[str, ...]:
    if "escaping" not in inspect.signature(generate_latest).parameters:
        return ()
    return ("underscores", "dots", "values", "allow-utf-8")


UTF8_NAMES = _has_utf8_names()
ESCAPINGS = _escapings()
NAMELESS_COLLECTORS = (
    "support_collectors_without_names" in inspect.signature(CollectorRegistry).parameters
)


@contextmanager
def closing() -> Iterator[None]:
    """Close the files that are written inside: before 0.26 nothing else ever would."""
    opened: list[Any] = []

    class Recorded(mmap_dict.MmapedDict):
        """Remembers itself."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            opened.append(self)

    with mock.patch.object(values, "MmapedDict", Recorded):
        try:
            yield
        finally:
            for file in opened:
                file.close()


@contextmanager
def counting(directory: Path | str, value_class: Any) -> Iterator[None]:
    """Let the metrics that are made inside use a value class, in a directory."""
    with ExitStack() as stack:
        variable = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
        stack.enter_context(mock.patch.dict(os.environ, variable))
        stack.enter_context(mock.patch.object(values, "ValueClass", value_class))
        modes = frozenset((*GAUGE_MODES, EXTRA_MODE))
        stack.enter_context(mock.patch.object(Gauge, "_MULTIPROC_MODES", modes))
        yield


@contextmanager
def process(directory: Path | str, identifier: object) -> Iterator[None]:
    """Let the metrics that are made inside write the files of a process of that name."""
    with ExitStack() as stack:
        stack.enter_context(closing())
        # The list keeps each class alive, for ever.
        stack.enter_context(mock.patch.object(values, "_multi_process_cleanups", [], create=True))
        stack.enter_context(counting(directory, MultiProcessValue(lambda: identifier)))
        yield


def files_of(directory: Path | str) -> list[str]:
    """Return the `.db` files of a directory in name order."""
    return sorted(glob.glob(os.path.join(glob.escape(str(directory)), "*.db")))  # noqa: PTH118, PTH207


class SortedCollector(MultiProcessCollector):  # type: ignore[misc]
    """prometheus_client's collector, but for the order of files, which it leaves to the disk."""

    def collect(self) -> Iterable[Metric]:
        merged: Iterable[Metric] = self.merge(files_of(self._path), accumulate=True)
        return merged


def texts(registry: Any, text: Any = None, open_text: Any = None) -> dict[tuple[str, ...], bytes]:
    """Return a registry in each format and escaping that the installed version has."""
    text = text or generate_latest
    open_text = open_text or openmetrics_latest
    found: dict[tuple[str, ...], bytes] = {
        ("text",): text(registry),
        ("openmetrics",): open_text(registry),
    }
    for escaping in ESCAPINGS:
        found["text", escaping] = text(registry, escaping=escaping)
        found["openmetrics", escaping] = open_text(registry, escaping=escaping)
    return found
