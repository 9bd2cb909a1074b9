"""The Rust core. Private: the public names are those of `multiprom`."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from multiprom.reports import Report

__all__ = [
    "__version__",
    "compact",
    "directory_text",
    "list_directory",
    "merge_directory",
    "merge_files",
    "read_files",
    "remove_gauge_files",
    "remove_leftovers",
]

__version__: str

def list_directory(path: str) -> tuple[list[str], list[Report]]:
    """List the metrics files of the directory `path`, in name order, and what else is in it.

    Raises:
        OSError: The directory could not be read. One that does not exist has no files.
    """

def merge_files(
    files: Sequence[str],
    accumulate: bool,
    dialect: tuple[bool, bool],
    metric_class: type[Metric],
    sample_class: type[Sample],
) -> tuple[list[Metric], list[Report]]:
    """Merge `files`, in this order, with the GIL released.

    Args:
        files: Paths. One that does not exist counts as empty.
        accumulate: Whether to make histogram buckets cumulative and count them.
        dialect: Whether prometheus_client groups samples by labels (0.24 and later), and whether
            it writes exponents with a zero before them (before 0.26).
        metric_class: prometheus_client's `Metric`.
        sample_class: prometheus_client's `Sample`.

    Raises:
        OSError: Reading failed for a reason that will pass.
    """

def merge_directory(
    path: str, dialect: tuple[bool, bool], metric_class: type[Metric], sample_class: type[Sample]
) -> tuple[list[Metric], list[Report]]:
    """Merge the files of the directory `path`, in name order; else as `merge_files`."""

def read_files(
    files: Sequence[str], metric_class: type[Metric], sample_class: type[Sample]
) -> tuple[dict[str, Metric], list[Report]]:
    """Read `files` without merging: families by name, a sample for each entry.

    As `MultiProcessCollector._read_metrics` of prometheus_client: labels are tuples of pairs, with
    the process as `pid` for gauges.

    Raises:
        OSError: Reading failed for a reason that will pass.
    """

def directory_text(
    path: str,
    openmetrics: bool,
    escaping: str,
    dialect: tuple[bool, bool],
    names: AbstractSet[str] | None,
) -> tuple[bytes, list[Report]]:
    """Merge the files of the directory `path` into text, with the GIL released.

    Args:
        path: The directory. One that does not exist has no files.
        openmetrics: OpenMetrics without `# EOF`, instead of the Prometheus text format.
        escaping: `allow-utf-8`, `underscores`, `dots` or `values`.
        dialect: Whether prometheus_client groups samples by labels (0.24 and later), and whether
            it writes exponents with a zero before them (before 0.26).
        names: The names of the samples to give; None for all.

    Raises:
        ValueError: There is no such escaping scheme.
        OSError: Reading failed for a reason that will pass.
    """

def compact(
    path: str,
    pids: Sequence[str],
    named_only: bool,
    drop_all: bool,
    wait_seconds: float,
    max_files: int | None,
) -> tuple[int, int, int, int, list[tuple[str, str]], bool]:
    """Fold the files of dead processes in the directory `path`, with the GIL released.

    Args:
        path: The directory. One that does not exist has no files.
        pids: Processes that are dead by the word of the caller.
        named_only: Whether to leave the files of all others unopened.
        drop_all: Whether to delete the files of dead processes' `all` gauges.
        wait_seconds: How long to wait for another compaction of the directory to end.
        max_files: How many files to fold or delete at most; None for all.

    Returns:
        Processes folded, files folded, files deleted, bytes freed, paths that were left alone and
        why, and whether nothing was done because another compaction is at work.

    Raises:
        ValueError: `wait_seconds` is negative, or no number.
        OSError: The directory could not be locked or listed.
    """

def remove_leftovers(
    path: str, wait_seconds: float
) -> tuple[int, int, tuple[str, str] | None, bool]:
    """Remove all metrics files of the directory `path`, if nobody living holds one.

    For the start of a server: files that prometheus_client itself wrote tell nothing of their
    owner, and are removed unless one of multiprom's is held.

    Returns:
        Files removed, bytes freed, the path for which all others were left and why, and whether
        nothing was done because a compaction is at work.

    Raises:
        ValueError: `wait_seconds` is negative, or no number.
        OSError: The directory could not be locked or listed.
    """

def remove_gauge_files(path: str, pid: str, modes: Sequence[str]) -> None:
    """Delete the files in which process `pid` keeps gauges of `modes`, those that exist.

    Raises:
        OSError: A file could not be deleted.
    """
