"""What a registry would collect, so that what comes from shared files can go a way of its own."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client import values
from prometheus_client.registry import CollectorRegistry, RestrictedRegistry

from multiprom.collector import reads_directory
from multiprom.reports import is_first, logger
from multiprom.stock import bind, is_genuine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from prometheus_client.metrics_core import Metric

FILES = object()
"""Stands for the shared files among the sources of a registry."""

_TYPES = re.compile(rb"^# TYPE (.+) \S+$", re.MULTILINE)
# The metrics of which it was said that they are registered beside a multiprocess collector.
_twice: dict[str, object] = {}

_STOCK_COLLECTS = {kind: kind.collect for kind in (CollectorRegistry, RestrictedRegistry)}


class Metrics:
    """Metrics that were collected already, as a registry."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._metrics


class Content:
    """What a registry would collect: metrics of its own (`first`), then collectors in order.

    `names` are the names of the samples that a restricted registry lets through; None for all.
    """

    def __init__(
        self, first: list[Metric], collectors: Iterable[Any], names: AbstractSet[str] | None = None
    ) -> None:
        self.first = first
        self.collectors = list(collectors)
        self.names = names

    def reads_files(self) -> bool:
        """Say whether some of it comes from shared files."""
        return any(map(reads_directory, self.collectors))

    def only_reads_files(self) -> bool:
        """Say whether all of it comes from shared files, so that no collector's own code runs."""
        return bool(self.collectors) and all(map(reads_directory, self.collectors))

    def metrics(self, collectors: Iterable[Any]) -> Iterator[Metric]:
        """Collect from `collectors`, without the samples that are not wanted."""
        for metric in itertools.chain.from_iterable(c.collect() for c in collectors):
            kept = metric if self.names is None else metric._restricted_metric(self.names)  # noqa: SLF001
            if kept:
                yield kept


def counts_in_files(collector: object) -> bool:
    """Say whether this is a metric of prometheus_client's, and those count in shared files."""
    collect = getattr(type(collector), "collect", None)
    is_metric = is_genuine(collect, "prometheus_client.metrics", "MetricWrapperBase.collect")
    return is_metric and bool(getattr(values.ValueClass, "_multiprocess", False))


def source_of(collector: Any) -> object:
    """Give `FILES` for what reads shared files, a metric itself if it counts there, else None."""
    if reads_directory(collector):
        return FILES
    return collector if counts_in_files(collector) else None


def leave_to_shared(parts: list[bytes], shared: list[bytes], own: dict[int, Any]) -> None:
    """Empty the parts of metrics that the shared parts have: Prometheus would refuse both."""
    names = set(_TYPES.findall(b"".join(shared)))
    new = []
    for place, metric in own.items():
        if metric is not None and not names.isdisjoint(_TYPES.findall(parts[place])):
            parts[place] = b""
            # With prometheus_client that is the way to show an Info or Enum.
            if metric._type not in ("info", "stateset") and is_first(_twice, metric._name):  # noqa: SLF001
                new.append(repr(metric._name))  # noqa: SLF001
    if new:
        logger.warning(
            "%s registered beside MultiProcessCollector, which has what all processes count: give "
            "MultiProcessCollector a CollectorRegistry() of its own, and serve that one",
            ", ".join(new),
        )


def _has_stock_collect(registry: object, kind: type[Any]) -> bool:
    if not isinstance(registry, kind) or "collect" in getattr(registry, "__dict__", {}):
        return False
    return getattr(type(registry), "collect", None) is _STOCK_COLLECTS[kind]


def content_of(registry: Any) -> Content | None:
    """Give the content of a registry; None if only its own `collect` knows it.

    As the two `collect` methods of prometheus_client's registries, but without their lock, in
    which a signal handler or a fork could come in: copying a dictionary or set is atomic.
    """
    if _has_stock_collect(registry, CollectorRegistry):
        first = [registry._target_info_metric()] if registry._target_info else []  # noqa: SLF001
        return Content(first, list(registry._collector_to_names))  # noqa: SLF001
    inner: Any = getattr(registry, "_registry", None)
    if not all(map(_has_stock_collect, (registry, inner), (RestrictedRegistry, CollectorRegistry))):
        return None
    names: AbstractSet[str] = registry._name_set  # noqa: SLF001
    is_wanted = "target_info" in names and inner._target_info  # noqa: SLF001
    # Built step by step as prometheus_client does: the order of a set depends on it.
    collectors = set(getattr(inner, "_collectors_without_names", ()))
    by_name = inner._names_to_collectors  # noqa: SLF001
    collectors.update(by_name[name] for name in names if name != "target_info" and name in by_name)
    # What shared files hold has any name; prometheus_client finds it only if the registry says so.
    collectors.update(filter(reads_directory, list(inner._collector_to_names)))  # noqa: SLF001
    return Content([inner._target_info_metric()] if is_wanted else [], collectors, names)  # noqa: SLF001


bind(__name__, prometheus_client)
