"""What `multiprom doctor` looks at: each check gives findings, worst and best."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from multiprom import environment
from multiprom.cli import seen, surroundings
from multiprom.cli.failure import reason
from multiprom.cli.finding import Finding
from multiprom.cli.output import count_of, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from multiprom.cli.seen import Seen

_SLOW_SECONDS = 1.0
_FEW_BYTES = 64 << 20
_FEW_INODES = 1000
# So many values are more than a label should have.
_MANY_VALUES = 1000
_NAMES_SHOWN = 3
# So many files of the dead wait until it is worth to write a large archive anew: see
# docs/compaction.md.
_WAITING = 15
# So many files that are never folded are more than a few restarts leave.
_MANY_KEPT = 100


# Hooks that leave a metric when a server starts, that metric, and what goes without the hook.
_HOOKS = {
    "nworkers_changed": (
        "gunicorn_workers_configured",
        "nobody gives the directory to another user",
    ),
    "pre_fork": ("gunicorn_workers_spawned", "nobody counts the workers that start"),
}
_ADVICE_OF_ARCHIVES = (
    "It holds what dead processes counted. What is readable counts, and nothing more of this kind "
    "is folded. Copy it; remove it only if these totals may fall."
)
_ADVICE_OF_FILES = (
    "What is readable counts. Copy the file; remove it only if no process uses it, and only if "
    "these totals may fall. If prometheus_client wrote it, two processes may have shared its name."
)


def all_findings(path: str) -> list[Finding]:
    """Look at everything."""
    found = [*surroundings.versions(), *surroundings.variables(path), *_directory(path)]
    if any(finding.level == "problem" and finding.check == "directory" for finding in found):
        return found
    found += _space(path)
    look = seen.look(path)
    checks: Iterable[Callable[[Seen], Iterator[Finding]]] = (
        _locks,
        _processes,
        _hook,
        _dead,
        _kept,
        _strays,
        _damage,
        _scrape,
        _labels,
    )
    for check in checks:
        found += check(look)
    return found


def _directory(path: str) -> Iterator[Finding]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
        os.scandir(path).close()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            advice = "Make it before the service starts, and give it to the service's user."
        elif isinstance(error, NotADirectoryError):
            advice = f"Let {environment.VARIABLE} name a directory."
        else:
            advice = "Run the doctor as the user of the service."
        yield Finding("directory", "problem", f"{path}: {reason(error)}", advice)
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(
            "directory",
            "warning",
            f"{path} is not writable for this user (uid {os.geteuid()})",
            "If the service runs as this user, give it the directory: until then it counts in "
            "memory, and no other process sees that.",
        )
    elif mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield Finding(
            "directory",
            "warning",
            f"{path} is writable for every user of the machine, who may delete or forge metrics",
            "Take the right away: chmod o-w.",
        )
    else:
        yield Finding("directory", "ok", f"{path} can be read and written")


def _space(path: str) -> Iterator[Finding]:
    found = os.statvfs(path)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    kind = file_system(path)
    text = f"the file system ({kind}) has {size(free)} free"
    advice = (
        "Make room: what finds none is counted in memory, and no other process sees that. Each "
        "process needs some 100 KiB for a hundred metrics."
    )
    if free == 0:
        yield Finding("space", "problem", text, advice)
    elif free < _FEW_BYTES:
        yield Finding("space", "warning", text, advice)
    else:
        yield Finding("space", "ok", text)
    if found.f_files and inodes < _FEW_INODES:
        text = f"the file system has room for {count_of(inodes, 'more file')}"
        yield Finding("space", "warning", text, "Remove files there, or give it more inodes.")


def file_system(path: str) -> str:
    """Give the type of the file system; `unknown` where the system does not tell."""
    place = str(Path(path).resolve())
    best = ("", "unknown")
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return best[1]
    for line in mounts:
        _, mounted, kind, *_ = line.split(" ")
        # Spaces are escaped.
        mounted = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mounted)
        is_above = mounted in ("/", place) or place.startswith(f"{mounted}/")
        if is_above and len(mounted) >= len(best[0]):
            best = (mounted, kind)
    return best[1]


def _locks(found: Seen) -> Iterator[Finding]:
    name = found.document["without_common_locks"]
    if name is not None:
        yield Finding(
            "locks",
            "warning",
            f"the directory is on {name}, where locks of other hosts or mounts may not be seen: "
            "nothing is folded without being asked for, and dead workers' live gauges may stay",
            "Use a directory on a local disk or in memory, such as an emptyDir or /dev/shm.",
        )


def _processes(found: Seen) -> Iterator[Finding]:
    alive = found.living
    masters = [process for process in alive if process["role"] == "master"]
    unknown = [process for process in found.processes if process["life"] == "unknown"]
    if len(masters) > 1:
        yield Finding(
            "processes",
            "warning",
            f"{len(masters)} servers use the directory: {_pids(masters)}",
            "Unless an upgrade (USR2) is under way, give each server a directory of its own: their "
            "metrics are added up, and one that restarts may leave them to the other.",
        )
    silent = [p for p in alive if p["role"] == "worker" and not p["files"]]
    if silent:
        yield Finding(
            "processes",
            "warning",
            f"{count_of(len(silent), 'worker')} without any file: {_pids(silent)}",
            "They have made no metric yet, or made them before the variable was set: call "
            "multiprom.install() when the process starts.",
        )
    if unknown:
        lives = "it lives" if len(unknown) == 1 else "they live"
        yield Finding(
            "processes",
            "note",
            f"{count_of(len(unknown), 'process', 'processes')} wrote with prometheus_client's own "
            "code, or where locks are not seen, so that nothing tells whether "
            f"{lives}: {_pids(unknown)}",
            "Call multiprom.install() in the service, or fold the dead: multiprom compact --pid.",
        )
    if alive:
        text = f"{count_of(len(alive), 'process', 'processes')} of the service alive"
        yield Finding("processes", "ok", text)
    elif not unknown:
        yield Finding("processes", "note", "no living process uses the directory")
    if not (found.has_metrics_files or alive):
        yield Finding("files", "note", seen.NO_METRICS_FILES)


def _hook(found: Seen) -> Iterator[Finding]:
    roles = {process["role"] for process in found.living}
    if "master" in roles:
        families = {family["name"] for family in found.families}
        missing = [hook for hook, (family, _) in _HOOKS.items() if family not in families]
        if missing and surroundings.shows_workers():
            hooks, costs = " and ".join(missing), ", ".join(_HOOKS[hook][1] for hook in missing)
            yield Finding(
                "hook",
                "note",
                "the server tells which worker died, but MULTIPROM_WORKER_METRICS is off there or "
                f"gunicorn does not call multiprom's {hooks}: then {costs}",
                "Take all hooks in gunicorn's configuration: from multiprom.gunicorn import *. "
                "Without on_starting, what an earlier run counted stays; without pre_fork, "
                "MULTIPROM_METRICS_ADDR has no effect.",
            )
            return
        yield Finding("hook", "ok", "the server has multiprom's hooks, and tells which worker died")
    elif "worker" in roles:
        yield Finding(
            "hook",
            "note",
            "no server with multiprom's hooks uses the directory: only the next scrape, or the "
            "next process that starts to count, notices that a worker died",
            "With gunicorn, add -c python:multiprom.gunicorn; other servers have no such hook.",
        )


def _pids(processes: list[dict[str, object]]) -> str:
    names = [str(process["pid"] or process["identifier"]) for process in processes]
    return _some(names)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _dead(found: Seen) -> Iterator[Finding]:
    saved = found.folding()
    if not saved["files"]:
        yield Finding("dead", "ok", "no file of a dead process waits to be folded")
        return
    files = count_of(saved["files"], "file")
    waiting = f"{files} of dead processes {'waits' if saved['files'] == 1 else 'wait'} to be folded"
    kinds = Counter(seen.kind(file) for file in found.files if file["is_foldable"])
    # All that live may have died since the last compaction.
    if max(kinds.values()) <= _WAITING + 2 * len(found.living):
        advice = f"A death or a scrape folds them: at once, or when {_WAITING + 1} of a kind wait."
        yield Finding("dead", "note", waiting, advice)
        return
    yield Finding(
        "dead",
        "warning",
        f"{waiting}, {size(saved['allocated'])}",
        "Nothing folds them: is MULTIPROM_COMPACTION off, or does neither gunicorn's hook "
        "(-c python:multiprom.gunicorn) run nor anybody scrape? Run multiprom compact now.",
    )


def _kept(found: Seen) -> Iterator[Finding]:
    count = sum(f["state"] == "dead" and f["is_of_one_process"] for f in found.files)
    if count > _MANY_KEPT:
        yield Finding(
            "dead",
            "warning",
            f"{count_of(count, 'file')} of gauges that keep a series for each dead process",
            "Give these gauges another multiprocess_mode than `all`, such as `liveall` or `max`, "
            "or let MULTIPROM_DROP_ALL=1 delete the files.",
        )


def _strays(found: Seen) -> Iterator[Finding]:
    strays = [file["name"] for file in found.files if file["state"] == "foreign"]
    if strays:
        yield Finding(
            "files",
            "note",
            f"{count_of(len(strays), 'file')} of other programs: {_some(strays)}",
            "They are not read; they should be elsewhere.",
        )


def _damage(found: Seen) -> Iterator[Finding]:
    for file in found.damaged[:_NAMES_SHOWN]:
        yield Finding(
            "damage",
            "problem",
            f"{file['name']}{seen.first_problem(file)}",
            _ADVICE_OF_ARCHIVES if seen.is_unfoldable_archive(file) else _ADVICE_OF_FILES,
        )
    if len(found.damaged) > _NAMES_SHOWN:
        text = f"{count_of(len(found.damaged), 'file')} are damaged"
        yield Finding("damage", "problem", text, "multiprom status lists them.")


def _scrape(found: Seen) -> Iterator[Finding]:
    if found.scrape_seconds is None:
        text = f"a scrape is not possible: {found.document['scrape_error']}"
        yield Finding("scrape", "problem", text, "Scrape as a user who may read the files.")
        return
    text = (
        f"a scrape gives {count_of(found.series, 'series', 'series')} in "
        f"{found.scrape_seconds * 1000:,.1f} ms"
    )
    if found.scrape_seconds > _SLOW_SECONDS:
        advice = "multiprom status tells which metrics have most series, and what folding saves."
        yield Finding("scrape", "warning", text, advice)
    else:
        yield Finding("scrape", "ok", text)


def _labels(found: Seen) -> Iterator[Finding]:
    for family in found.families[:_NAMES_SHOWN]:
        for name, values in family["labels"].items():
            if values > _MANY_VALUES and name != "pid":
                yield Finding(
                    "labels",
                    "warning",
                    f"label {name!r} of {family['name']!r} has {values:,} values",
                    "A label should have few: leave out what users choose, such as whole paths, "
                    "identifiers and addresses.",
                )
