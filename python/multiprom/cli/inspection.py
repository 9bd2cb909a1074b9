"""`inspect`: what `multiprom status` shows of a directory, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from multiprom import _core, environment

if TYPE_CHECKING:
    import os


class Usage(NamedTuple):
    """What the kernel says of a process."""

    cpu_seconds: float | None
    """Processor time of the user and the system, in seconds; None where the kernel refuses it."""
    resident_bytes: int
    """Memory in RAM; pages that processes share are counted for each."""
    virtual_bytes: int
    """Mapped memory."""
    start_time: float
    """When it started: Unix time in seconds."""
    threads: int
    """Its threads."""
    open_descriptors: int | None
    """Open descriptors; before Linux 6.2 None for a process of another user."""
    max_descriptors: int | None
    """How many it may have open; None for a process of another user."""
    voluntary_switches: int
    """How often it has waited."""
    involuntary_switches: int
    """How often others had their turn."""


class ProcessSeen(NamedTuple):
    """A process that uses a directory or has used it."""

    slot: int | None
    """The number of the slot that it holds, or held as the last; None if only files tell of it."""
    pid: int | None
    """Its pid, in its own pid namespace; None if nothing names it."""
    role: str | None
    """`worker` or `master`; None if no slot names the process."""
    identifier: str
    """What its files are named after; empty if its slot does not say."""
    life: Literal["alive", "dead", "unknown"]
    """Whether it lives."""
    evidence: str
    """How that is known, as a sentence."""
    files: int
    """How many metrics files are named after it."""
    usage: Usage | None
    """What it uses; None if it is dead or not visible here, such as in another pid namespace."""


class Problem(NamedTuple):
    """What a scrape leaves out of a file."""

    offset: int | None
    """Where the damage is, in bytes; None if the file is not read at all."""
    damage: str
    """The kind of damage: the label `reason` of `multiprom_left_out`, see operating.md."""
    reason: str
    """What is wrong, as a sentence."""
    entries: int
    """How many entries are skipped because of their keys; 0 where it cannot be known."""


class FileSeen(NamedTuple):
    """A file of a directory."""

    name: str
    """Its name; what is no UTF-8 in it has replacement characters."""
    type: str | None
    """The type of its metrics, such as `counter`; None if it is no metrics file."""
    mode: str | None
    """The mode of its gauges, such as `livesum`; None if it has no gauges."""
    identifier: str | None
    """The process that it is named after; None for archives and what is no metrics file."""
    state: Literal["live", "dead", "unknown", "archive", "spent", "foreign"]
    """`live`: a living process counts in it; `dead`: its process is dead; `unknown`: nobody can
    tell whether its process lives; `archive`: what dead processes counted; `spent`: an archive has
    its content; `foreign`: it is no metrics file."""
    is_counted: bool
    """Whether a scrape counts what is in it, as far as it is sound."""
    is_foldable: bool
    """Whether compaction would fold it into an archive, or delete it."""
    is_of_one_process: bool
    """Whether it is of gauges that keep a series for each process, also of the dead."""
    used: int
    """The bytes that its header says are used; 0 if the header cannot be believed."""
    size: int
    """Its length in bytes, holes included."""
    allocated: int
    """The bytes that it takes on the disk."""
    modified: int
    """When it was last written to, where the file system keeps that: Unix time in seconds."""
    entries: int
    """How many series it has."""
    problems: tuple[Problem, ...]
    """What a scrape leaves out of it, and why."""


class FamilySize(NamedTuple):
    """A metric, and how large it is."""

    name: str
    """Its name."""
    type: str
    """Its type."""
    series: int
    """How many series it has in a scrape."""
    labels: dict[str, int]
    """How many values each of its labels has."""


class Inspection(NamedTuple):
    """What is in a directory."""

    directory: str
    """The directory."""
    exists: bool
    """Whether there is such a directory."""
    without_common_locks: str | None
    """The file system, if locks of other hosts or mounts may not be seen there."""
    is_compacting: bool
    """Whether a process compacts the directory just now."""
    scrape_error: str | None
    """Why no scrape is possible, if none is."""
    processes: tuple[ProcessSeen, ...]
    """Those that hold or held a slot, by number, and then those that only files tell of."""
    files: tuple[FileSeen, ...]
    """The files that are named `*.db`, by name, also those that are no metrics files."""
    families: tuple[FamilySize, ...]
    """The metrics of a scrape, in its order."""


def inspect(path: str | os.PathLike[str] | None = None) -> Inspection:
    """Look at all of a directory: processes, files, damage, and what a scrape would give.

    Nothing is changed there. A directory that is missing, or that is a file, is empty and does not
    exist. All files are read, as by a scrape, with the GIL released.

    Args:
        path: The directory; default: PROMETHEUS_MULTIPROC_DIR, or its lower-case form.

    Raises:
        ValueError: No path is given or set.
        OSError: The directory cannot be listed, such as by this user.

    """
    found: dict[str, Any] = json.loads(_core.inspect(environment.directory(path)))
    found["processes"] = tuple(map(_process, found["processes"]))
    found["files"] = tuple(map(_file, found["files"]))
    found["families"] = tuple(FamilySize(**family) for family in found["families"])
    return Inspection(**found)


def _process(found: dict[str, Any]) -> ProcessSeen:
    usage = found["usage"]
    return ProcessSeen(**{**found, "usage": None if usage is None else Usage(**usage)})


def _file(found: dict[str, Any]) -> FileSeen:
    problems = tuple(Problem(**problem) for problem in found["problems"])
    return FileSeen(**{**found, "problems": problems})
