"""Processes that write their metrics, with prometheus_client's value classes or with ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram, Summary
from support import stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True)
class Series:
    """One child of a metric and what happened to it."""

    label_values: tuple[str, ...]
    amounts: tuple[float, ...]
    # Read by the `mostrecent` modes only.
    timestamp: float = 0.0


@dataclass(frozen=True)
class Instrument:
    """One metric of one process."""

    kind: str
    name: str
    help: str
    label_names: tuple[str, ...]
    series: tuple[Series, ...]
    mode: str = "all"
    buckets: tuple[float, ...] = ()

    def use(self) -> None:
        """Make the metric, as a module of the application would, and use it."""
        metric = self._make()
        for series in self.series:
            child = metric.labels(*series.label_values) if self.label_names else metric
            for amount in series.amounts:
                if self.kind == "gauge":
                    # Gauge.set() would take the time from the clock.
                    child._value.set(amount, timestamp=series.timestamp)
                elif self.kind == "counter":
                    # Past inc(), which refuses what a damaged or restored count may hold.
                    child._value.inc(amount)
                else:
                    child.observe(amount)

    def _make(self) -> Any:
        # Registered nowhere: several processes are played by one.
        arguments: dict[str, Any] = {"labelnames": self.label_names, "registry": None}
        match self.kind:
            case "counter":
                return Counter(self.name, self.help, **arguments)
            case "gauge":
                return Gauge(self.name, self.help, multiprocess_mode=self.mode, **arguments)  # type: ignore[arg-type]
            case "summary":
                return Summary(self.name, self.help, **arguments)
            case _:
                return Histogram(self.name, self.help, buckets=self.buckets, **arguments)


@dataclass(frozen=True)
class Process:
    """A process and all the metrics that it ever used."""

    identifier: int | str
    instruments: tuple[Instrument, ...]


def write(
    directory: Path | str,
    processes: Iterable[Process],
    playing: Callable[[Path | str, object], AbstractContextManager[None]] = stock.process,
) -> list[str]:
    """Write the files of the processes and return them in name order."""
    for process in processes:
        with playing(directory, process.identifier):
            for instrument in process.instruments:
                instrument.use()
    return stock.files_of(directory)
