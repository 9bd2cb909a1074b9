"""What the core sees in a directory, and what follows from it: for `status` and `doctor`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from multiprom import _core
from multiprom.cli import directory

# Nobody reads the text of a scrape that is only timed.
_ESCAPING = "allow-utf-8"
_DIALECT = (True, False)

NO_METRICS_FILES = "no metrics files are here: is it the right directory?"
STATES = ("live", "archive", "unknown", "dead", "spent", "foreign")


_REASONS = {
    "live": "a living process counts in it",
    "archive": "what dead processes counted",
    "unknown": "it does not tell whether its process lives: locks are not seen here, or "
    "prometheus_client wrote it",
    "spent": "an archive has its content; the next compaction deletes it",
    "foreign": "it is no metrics file; nobody reads it",
}


@dataclass(frozen=True)
class Seen:
    """An inspection of the core (`_core.inspect`), and a scrape."""

    document: dict[str, Any]
    scrape_seconds: float | None
    """None if no scrape is possible."""
    scrape_bytes: int

    @property
    def processes(self) -> list[dict[str, Any]]:
        """The processes."""
        found: list[dict[str, Any]] = self.document["processes"]
        return found

    @property
    def living(self) -> list[dict[str, Any]]:
        """The processes that live."""
        return [process for process in self.processes if process["life"] == "alive"]

    @property
    def files(self) -> list[dict[str, Any]]:
        """The files."""
        found: list[dict[str, Any]] = self.document["files"]
        return found

    @property
    def families(self) -> list[dict[str, Any]]:
        """The families, that with most series first."""
        found: list[dict[str, Any]] = self.document["families"]
        return sorted(found, key=lambda family: -family["series"])

    @property
    def damaged(self) -> list[dict[str, Any]]:
        """The metrics files of which something is left out."""
        return [file for file in self.files if file["problems"] and file["state"] != "foreign"]

    @property
    def has_metrics_files(self) -> bool:
        """Whether any file is a metrics file."""
        return any(file["state"] != "foreign" for file in self.files)

    @property
    def series(self) -> int:
        """How many series a scrape gives."""
        return sum(family["series"] for family in self.families)

    def folding(self) -> dict[str, Any]:
        """Give what folding the files of the dead would save."""
        foldable = [file for file in self.files if file["is_foldable"]]
        counted = sum(file["entries"] for file in self.files if file["is_counted"])
        entries = sum(file["entries"] for file in foldable if file["is_counted"])
        return {
            "files": len(foldable),
            "allocated": sum(file["allocated"] for file in foldable),
            "entries": entries,
            "entries_of_all": counted,
        }

    def to_json(self) -> dict[str, Any]:
        """Give all of it for `--json`."""
        scrape = {"seconds": self.scrape_seconds, "bytes": self.scrape_bytes, "series": self.series}
        families = {"families": self.families}
        return {**self.document, **families, "scrape": scrape, "folding": self.folding()}


def look(path: str) -> Seen:
    """Look at a directory, and scrape it once; nothing is changed there."""
    document: dict[str, Any] = json.loads(_core.inspect(path))
    if document["scrape_error"] is not None:
        return Seen(document, None, 0)
    try:
        return Seen(document, *scrape(path))
    except OSError as error:
        return Seen({**document, "scrape_error": str(error)}, None, 0)


def scrape(path: str) -> tuple[float, int]:
    """Scrape a directory, and give how many seconds that took, and the length of the text.

    Raises OSError if no scrape is possible.
    """
    directory.only_look()
    start = time.perf_counter()
    text, _ = _core.directory_text(path, False, _ESCAPING, _DIALECT, None)
    return time.perf_counter() - start, len(text)


def kind(file: dict[str, Any]) -> str:
    """Give the type of a file's metrics, with the mode of gauges."""
    return " ".join(filter(None, (file["type"], file["mode"]))) or "-"


def is_of_living(file: dict[str, Any]) -> bool:
    """Say whether a file is of what counts only while its process lives."""
    return file["type"] in ("info", "stateset") or (file["mode"] or "").startswith("live")


def damage(file: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what is wrong with the content of a file, so that compaction leaves it alone."""
    # A metric that has changed its type is no damage of the file.
    return [problem for problem in file["problems"] if problem["damage"] != "changed_metric"]


def is_unfoldable_archive(file: dict[str, Any]) -> bool:
    """Say whether a file is an archive to which damage lets nothing be added."""
    return file["state"] == "archive" and bool(damage(file))


def first_problem(file: dict[str, Any]) -> str:
    """Say where a file is damaged first, and how, behind what names it: ` at byte 8: ...`."""
    problem = (damage(file) or file["problems"])[0]
    place = "" if problem["offset"] is None else f" at byte {problem['offset']}"
    return f"{place}: {problem['reason']}"


def why(file: dict[str, Any]) -> str:
    """Say why a file is there."""
    if file["state"] != "dead":
        return _REASONS[file["state"]]
    if file["is_foldable"]:
        if is_of_living(file):
            return "its process is dead; the next compaction deletes it"
        return "its process is dead; compaction folds it as soon as that is worth while"
    if damage(file):
        return "its process is dead, but it is damaged, and is not folded"
    return "its process is dead; it has a series for each process (MULTIPROM_DROP_ALL=1 drops it)"
