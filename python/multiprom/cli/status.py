"""Shows who uses a directory, which files are there and why, what is wrong, and what it costs."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from multiprom.cli import directory, output, seen
from multiprom.cli.failure import ATTENTION, DONE
from multiprom.cli.output import Amount, Table, count_of, or_dash, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from multiprom.cli.seen import Seen

HELP = "show processes, files, damage and the largest metrics"
EXAMPLES = """\
examples:
  multiprom status /run/metrics
  multiprom status --all
  multiprom status --html /tmp/metrics.html
  multiprom status --json | jq '.processes[] | select(.life == "alive") | .pid'
"""
_ROWS = 10
_LABELS = 4


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    parser.add_argument(
        "--all", action="store_true", help="list each process, file and metric, however many"
    )
    parser.add_argument(
        "--html", metavar="FILE", help="write a page with tables and plots, and print nothing"
    )
    output.add_json_to(parser)


def run(options: argparse.Namespace) -> int:
    """Show it."""
    path = directory.readable(options)
    found = seen.look(path)
    if options.html:
        importlib.import_module("multiprom.cli.page").write(found, options.html)
    elif options.json:
        output.print_json("status", found.to_json())
    else:
        output.print_tables(tables(found, rows=None if options.all else _ROWS))
    return ATTENTION if found.damaged or found.document["scrape_error"] else DONE


def tables(found: Seen, rows: int | None) -> list[Table]:
    """Give what there is to show, each table with so many rows at most; None for all."""
    made = [_summary(found), _processes(found, rows)]
    made.append(_each_file(found) if rows is None else _files_by_kind(found))
    if found.damaged:
        made.append(_damage(found, rows))
    made.append(_families(found, rows))
    return made


def _summary(found: Seen) -> Table:
    lives = Counter(process["life"] for process in found.processes)
    said = [f"{lives[life]} {life}" for life in ("alive", "dead", "unknown") if lives[life]]
    used = sum(file["used"] for file in found.files)
    allocated = sum(file["allocated"] for file in found.files)
    rows = [
        ("processes", ", ".join(said) or "none"),
        ("files", f"{len(found.files):,}, {size(used)} used, {size(allocated)} on the disk"),
        ("scrape", _scrape(found)),
        ("folding", _folding(found)),
    ]
    if not found.has_metrics_files:
        rows.append(("note", seen.NO_METRICS_FILES))
    if found.document["is_compacting"]:
        rows.append(("compaction", "a process compacts the directory just now"))
    if file_system := found.document["without_common_locks"]:
        rows.append(("locks", f"{file_system}: who lives cannot be told here"))
    return Table(found.document["directory"], ("", ""), rows)


def _scrape(found: Seen) -> str:
    if found.scrape_seconds is None:
        return f"not possible: {found.document['scrape_error']}"
    text = size(found.scrape_bytes)
    milliseconds = found.scrape_seconds * 1000
    families = count_of(len(found.families), "metric")
    return (
        f"{families}, {count_of(found.series, 'series', 'series')}, {text}, {milliseconds:.1f} ms"
    )


def _folding(found: Seen) -> str:
    saved = found.folding()
    if not saved["files"]:
        return "nothing to fold"
    share = saved["entries"] / max(saved["entries_of_all"], 1)
    files, freed = count_of(saved["files"], "file"), size(saved["allocated"])
    return f"{files} of the dead would go, {freed}, {share:.0%} of what a scrape reads"


def _processes(found: Seen, limit: int | None) -> Table:
    # The living first, and those of slots.
    order = {"alive": 0, "unknown": 1, "dead": 2}
    ordered = sorted(found.processes, key=lambda process: order[process["life"]])
    rows = []
    for process in ordered[:limit]:
        usage = process["usage"] or {}
        cpu = usage.get("cpu_seconds")
        rows.append(
            (
                or_dash(process["slot"]),
                or_dash(process["pid"] or process["identifier"]),
                process["role"] or "-",
                process["life"],
                process["files"],
                size(usage["resident_bytes"]) if usage else Amount("-"),
                Amount("-" if cpu is None else f"{cpu:.1f} s"),
                Amount(_age(usage["start_time"]) if usage else "-"),
                process["evidence"],
            )
        )
    headings = ("slot", "pid", "role", "life", "files", "memory", "CPU", "age", "known because")
    note = _more(len(ordered), limit, "process", "processes") or "" if rows else "none"
    return Table("Processes", headings, rows, note)


def _age(start: float) -> str:
    seconds = max(time.time() - start, 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _more(count: int, limit: int | None, what: str, plural: str = "") -> str:
    left = 0 if limit is None else count - limit
    return f"and {count_of(left, what, plural)} more (--all)" if left > 0 else ""


def _files_by_kind(found: Seen) -> Table:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for file in found.files:
        groups.setdefault((file["state"], seen.kind(file), seen.why(file)), []).append(file)
    order = sorted(groups, key=lambda group: (seen.STATES.index(group[0]), group))
    rows = [
        (
            state,
            kind,
            len(files),
            sum(file["entries"] for file in files),
            size(sum(file["used"] for file in files)),
            size(sum(file["allocated"] for file in files)),
            why,
        )
        for state, kind, why in order
        for files in [groups[state, kind, why]]
    ]
    headings = ("state", "kind", "files", "entries", "used", "on disk", "why")
    return Table("Files", headings, rows, "" if rows else "none")


def _each_file(found: Seen) -> Table:
    rows = [
        (
            file["name"],
            file["state"],
            file["entries"],
            size(file["used"]),
            size(file["allocated"]),
            seen.why(file),
        )
        for file in found.files
    ]
    headings = ("file", "state", "entries", "used", "on disk", "why")
    return Table("Files", headings, rows, "" if rows else "none")


def _damage(found: Seen, limit: int | None) -> Table:
    rows: Sequence[tuple[Any, ...]] = [
        (
            file["name"],
            or_dash(problem["offset"]),
            problem["entries"] or "the rest",
            problem["reason"],
        )
        for file in found.damaged
        for problem in file["problems"]
    ]
    headings = ("file", "at byte", "entries", "reason")
    return Table("Damage", headings, rows[:limit], _more(len(rows), limit, "damage"))


def _families(found: Seen, limit: int | None) -> Table:
    rows = [
        (family["name"], family["type"], family["series"], labels(family))
        for family in found.families[:limit]
    ]
    headings = ("metric", "type", "series", "labels, and how many values each has")
    note = _more(len(found.families), limit, "metric") if rows else "none"
    return Table("Metrics with most series", headings, rows, note)


def labels(family: dict[str, Any]) -> str:
    """Give the labels that make a family large, those with most values first."""
    found = sorted(family["labels"].items(), key=lambda label: -label[1])
    said = [f"{name} {values:,}" for name, values in found[:_LABELS]]
    if len(found) > _LABELS:
        said.append("…")
    return ", ".join(said)
