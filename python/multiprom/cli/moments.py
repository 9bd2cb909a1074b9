"""A directory at two moments, and the rates between them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from multiprom import _core
from multiprom.cli import seen


@dataclass(frozen=True)
class Moment:
    """A directory at one moment."""

    at: float
    """Seconds of a clock that never goes back."""
    processes: list[dict[str, Any]]
    counts: dict[str | None, dict[str, float]]
    """By the identifier of the process, and None for the archives: how far each metric is."""
    scrape_seconds: float

    @classmethod
    def of(cls, path: str) -> Moment:
        """Look at a directory now."""
        at = time.monotonic()
        document = json.loads(_core.watch(path))
        counts = {
            process["identifier"]: {
                # JSON has no NaN and no infinity, of which no rate can be made.
                name: count
                for name, count in process["counts"].items()
                if count is not None
            }
            for process in document["counts"]
        }
        return cls(at, document["processes"], counts, seen.scrape(path)[0])

    def has(self, name: str) -> bool:
        """Say whether any process has counted a metric of this name."""
        return any(name in counts for counts in self.counts.values())

    def total(self, name: str) -> float:
        """Give how far all processes together have counted a metric."""
        return sum(counts.get(name, 0.0) for counts in self.counts.values())


@dataclass(frozen=True)
class Rates:
    """What has changed from one moment to another."""

    before: Moment
    now: Moment

    @property
    def seconds(self) -> float:
        """The time between the two."""
        return max(self.now.at - self.before.at, 1e-9)

    @property
    def scrape_milliseconds(self) -> float:
        """How long the last scrape took."""
        return self.now.scrape_seconds * 1000

    def totals(self) -> dict[str, float]:
        """Give how often a second each metric is counted by all processes together."""
        names = {name for counts in self.now.counts.values() for name in counts}
        # A total falls only where files were removed.
        return {
            name: max(self.now.total(name) - self.before.total(name), 0.0) / self.seconds
            for name in names
        }

    def processes(self, counter: str | None) -> list[dict[str, Any]]:
        """Give the living processes, each with its `rates`, and its `rate` of one metric."""
        earlier = {_key(process): process["usage"] for process in self.before.processes}
        found = []
        for process in self.now.processes:
            if process["life"] != "alive":
                continue
            usage, old = process["usage"] or {}, earlier.get(_key(process)) or {}
            seconds, before = usage.get("cpu_seconds"), old.get("cpu_seconds")
            cpu = None
            if seconds is not None and before is not None:
                cpu = max(seconds - before, 0.0) / self.seconds
            found.append(
                {
                    "slot": process["slot"],
                    "pid": process["pid"],
                    "role": process["role"],
                    "identifier": process["identifier"],
                    "cpu": cpu,
                    "resident_bytes": usage.get("resident_bytes"),
                    "threads": usage.get("threads"),
                    **self._counting(process["identifier"], counter),
                }
            )
        known = {process["identifier"] for process in self.now.processes}
        # Processes without a slot: of these only the files tell.
        for identifier in sorted(i for i in self.now.counts if i is not None and i not in known):
            counting = self._counting(identifier, counter)
            if any(counting["rates"].values()):
                nothing = dict.fromkeys(("slot", "pid", "role", "cpu", "resident_bytes", "threads"))
                found.append({**nothing, "identifier": identifier, **counting})
        return found

    def _counting(self, identifier: str, counter: str | None) -> dict[str, Any]:
        """Give the `rates` of a process, and the `rate` of one metric; None if it has no file."""
        before = self.before.counts.get(identifier, {})
        rates = {
            name: max(now - before.get(name, 0.0), 0.0) / self.seconds
            for name, now in self.now.counts.get(identifier, {}).items()
        }
        rate = None
        if counter is not None and identifier in self.now.counts:
            rate = rates.get(counter, 0.0)
        return {"rate": rate, "rates": rates}

    def to_json(self) -> dict[str, Any]:
        """Give all of it for `--json`: of each process the rate of each metric."""
        processes = self.processes(None)
        for process in processes:
            del process["rate"]
        return {
            "seconds": self.seconds,
            "scrape_seconds": self.now.scrape_seconds,
            "processes": processes,
            "rates": self.totals(),
        }


def _key(process: dict[str, Any]) -> tuple[Any, ...]:
    """Tell a process from a later one in its slot."""
    return process["slot"], process["pid"], (process["usage"] or {}).get("start_time")
