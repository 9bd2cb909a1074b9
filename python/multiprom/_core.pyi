"""The Rust core. Private: the public names are those of `multiprom`."""

from collections.abc import Callable, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import Any, Literal, TypeVar, final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample
from typing_extensions import disjoint_base

from multiprom.reports import Compacted, Report

__all__ = [
    "Value",
    "ValueClass",
    "__version__",
    "announce",
    "compact",
    "count_exit",
    "directory_text",
    "drops_all",
    "fold_dead",
    "gzip",
    "hold_back",
    "hold_slot",
    "inspect",
    "install_methods",
    "is_automatic",
    "leave",
    "limit_series",
    "mark_self_dead",
    "merge_directory",
    "merge_files",
    "move_metric",
    "move_value",
    "post_fork",
    "post_request",
    "pre_fork",
    "pre_request",
    "read_consistently",
    "read_files",
    "remove_leftovers",
    "remove_live_files",
    "remove_methods",
    "repeat_statement",
    "reset_compaction",
    "set_configured",
    "show_workers",
    "slots",
    "warn_later",
    "watch",
    "worker_exit",
    "write_unwritten",
]

_Merged = TypeVar("_Merged")
_Returned = TypeVar("_Returned")

__version__: str

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
        OSError: None of the files can be read, or reading failed for a reason that will pass.
    """

def merge_directory(
    path: str,
    dialect: tuple[bool, bool],
    metric_class: type[Metric],
    sample_class: type[Sample],
    collector: object,
) -> tuple[list[Metric], list[Report]]:
    """Scrape the directory `path`: merge its files, in name order; else as `merge_files`.

    First it writes what this process has counted, and folds what the dead have left if it is time
    for that. What it could not write is merged as if it were in a file. What `show_workers`
    adds has no family that is registered beside the collector.
    """

def read_files(
    files: Sequence[str], metric_class: type[Metric], sample_class: type[Sample]
) -> tuple[dict[str, Metric], list[Report]]:
    """Read `files` without merging: families by name, a sample for each entry.

    As `MultiProcessCollector._read_metrics` of prometheus_client: labels are tuples of pairs, with
    the process as `pid` for gauges.

    Raises:
        OSError: None of the files can be read, or reading failed for a reason that will pass.
    """

def directory_text(
    path: str,
    openmetrics: bool,
    escaping: str,
    dialect: tuple[bool, bool],
    names: AbstractSet[str] | None,
    others: Sequence[bytes] | None = None,
) -> tuple[bytes, list[Report]]:
    """Scrape the directory `path`: merge its files into text, with the GIL released.

    First it writes what this process has counted, and folds what the dead have left if it is time
    for that.

    Args:
        path: The directory. One that does not exist has no files.
        openmetrics: OpenMetrics without `# EOF`, instead of the Prometheus text format.
        escaping: `allow-utf-8`, `underscores`, `dots` or `values`.
        dialect: Whether prometheus_client groups samples by labels (0.24 and later), and whether
            it writes exponents with a zero before them (before 0.26).
        names: The names of the samples to give; None for all.
        others: Texts that go with it. If there are any, what `show_workers` adds is there, too, but
            nothing that is in one of them; None for the files alone.

    Raises:
        ValueError: There is no such escaping scheme.
        OSError: None of the files can be read, or reading failed for a reason that will pass.
    """

def gzip(text: bytes) -> bytes:
    """Compress `text` into the gzip format, with the GIL released."""

def read_consistently(
    path: str, merge: Callable[[list[str], list[Report]], _Merged], *, timeout: float = 8.0
) -> _Merged:
    """Scrape the directory `path` with `merge`, which is given its files: each count is seen once.

    First it writes what this process has counted, and folds what the dead have left if it is time
    for that.

    Args:
        path: The directory. One that does not exist has no files.
        merge: Is given the files, in name order, without those that an archive among them has
            absorbed and those of dead processes' live gauges, and reports on what else is in the
            directory. It must have read all when it returns. It is called again if files of dead
            processes were folded meanwhile: after three times under the directory's lock.
        timeout: After so many seconds it gives up.

    Raises:
        TimeoutError: Compaction never paused for a reading.
        OSError: The directory could not be read.
        Exception: Whatever `merge` raises; an OSError only if no archive has changed meanwhile.
    """

def compact(path: str, pids: Sequence[str], drop_all: bool | None, timeout: float) -> Compacted:
    """Fold the files of dead processes in the directory `path`, with the GIL released.

    Args:
        path: The directory. One that does not exist has no files.
        pids: Processes that are dead by the word of the caller.
        drop_all: Whether to delete the files of dead processes' `all` gauges; None for what
            MULTIPROM_DROP_ALL says.
        timeout: How many seconds to wait for another compaction of the directory to end. Signals
            are handled meanwhile.

    Raises:
        OSError: The directory could not be locked or listed.
        BaseException: Whatever a signal handler raises.
    """

def fold_dead(path: str, pid: str) -> Compacted:
    """Fold the files of a process that has just been reaped, and of those not folded before.

    Does nothing with MULTIPROM_COMPACTION=off, and waits at most 50 ms for another compaction. Logs
    once for each reason what stays until somebody does something.

    Raises:
        OSError: The directory could not be locked or listed.
    """

def is_automatic() -> bool:
    """Say whether MULTIPROM_COMPACTION lets files be folded without being asked for."""

def drops_all() -> bool:
    """Say whether MULTIPROM_DROP_ALL lets the files of dead processes' `all` gauges be deleted."""

def reset_compaction(sweep_seconds: float = 5.0) -> None:
    """Forget earlier sweeps, deaths and warnings, and set how often to sweep: for tests.

    Raises:
        ValueError: `sweep_seconds` is negative, or no number.
    """

def remove_leftovers(path: str, wait_seconds: float) -> tuple[int, str | None]:
    """Remove all metrics files of the directory `path`, if no other process uses it.

    For the start of a server, which has taken a slot of its own before. Files that
    prometheus_client itself wrote do not tell whether their process lives: they are removed unless
    a process holds a slot or one of multiprom's files.

    Returns:
        How many files were removed, and why the others stay; None if there are no others.

    Raises:
        ValueError: `wait_seconds` is negative, or no number.
        OSError: The directory could not be locked or listed.
    """

def announce(takes_slots: bool) -> None:
    """Say whether this process, and children that it forks, take a slot when they open a file."""

def hold_slot(path: str, role: Literal["worker", "master"]) -> int | None:
    """Hold a slot of the directory `path` for this process, as long as it lives.

    A process that holds one already keeps it, and its role is changed. The child of a fork does
    not keep its parent's slot. After `announce`, opening a metrics file takes a slot, too.

    Returns:
        The number of the slot, which no other living process has; None if there can be no slot,
        such as in a directory that is missing or not writable.

    Raises:
        ValueError: There is no such role.
    """

def leave(path: str) -> None:
    """Free the slot that this process holds in the directory `path`, if it holds one."""

def slots(path: str) -> list[tuple[int, bool, bool, tuple[int, int, str, str] | None]]:
    """List the slots of the directory `path`: who uses it, and who has used it.

    Returns:
        For each slot, in order: its number; whether a process holds it; whether that is this one;
        and the pid of the process that holds it or held it last, when it started (clock ticks since
        the boot, or Unix time in seconds where there is no /proc), its identifier and its role;
        None in place of the last four if the file does not say.

    Raises:
        OSError: The directory could not be listed.
    """

def move_metric(
    metric: object, old_class: type, new_class: type, noted: MutableMapping[int, Any]
) -> None:
    """Move what a metric or child counts in values of `old_class` to values of `new_class`.

    All who hold an old value count in its new one from then on. The old values are noted by their
    ids.

    Raises:
        Exception: Whatever the metric raises where it makes its values.

    """

def move_value(old: object, new_class: type, *, is_heir: bool) -> None:
    """Have a value that knows how it was made, in `_params`, count in one of `new_class`.

    What it holds is this process's, and no other value's, if it `is_heir`.

    Raises:
        Exception: Whatever the new class raises.

    """

def remove_live_files(path: str, pid: str, modes: Sequence[str]) -> None:
    """Delete the files in which process `pid` keeps gauges of `modes`, those that exist.

    A file that another living process holds stays.

    Raises:
        OSError: A file could not be deleted.
    """

def show_workers(*, shows: bool) -> None:
    """Say whether scrapes show processes, their server and the state of files.

    It holds where MULTIPROM_WORKER_METRICS does not say. If not, nothing is counted for that.
    """

def pre_fork(server: Any, worker: Any) -> None:
    """Count a worker that starts: gunicorn's ``pre_fork`` hook."""

def post_fork(server: Any, worker: Any) -> None:
    """Learn at which sockets connections wait for this worker: gunicorn's ``post_fork`` hook."""

def pre_request(worker: Any, req: Any) -> None:
    """Count a request that begins: gunicorn's ``pre_request`` hook.

    Logs the request at level `debug`, as gunicorn's own hook does.
    """

def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Count a request that ends: gunicorn's ``post_request`` hook, called after errors, too."""

def worker_exit(server: Any, worker: Any) -> None:
    """Say whether this worker ends after as many requests as it may: ``worker_exit`` hook."""

def set_configured(workers: int) -> None:
    """Say how many workers the server has from now on, in the directory of the environment."""

def count_exit(worker: Any) -> None:
    """Count a worker that has ended, by reason: to be called from ``child_exit``."""

def inspect(path: str) -> str:
    """Look at all of the directory `path`, and change nothing there.

    Returns:
        A JSON object, with the fields of `status` in docs/command-line.md.

    Raises:
        OSError: The directory could not be listed.
    """

def watch(path: str) -> str:
    """Look at what moves in the directory `path`, and change nothing there.

    Returns:
        A JSON object: `processes`, as `inspect` gives those that hold or held a slot; and `counts`,
        an object for each process with files: its `identifier` (null for the archives), and
        `counts`, how far each metric has been counted, by its name. Labels are added up; a
        histogram or summary counts its observations.

    Raises:
        OSError: The directory could not be listed, or reading failed for a reason that will pass.
    """

def install_methods(*, counting: bool) -> None:
    """Put native methods in the place of those that programs call all the time.

    They are on prometheus_client's own classes. Each does at once what the usual case needs, and
    calls prometheus_client's method, with the same arguments, in all others. A method that was
    replaced by a program, or has other parameters than those known, is left as it is.

    Args:
        counting: Not only `labels`, but also `inc`, `dec`, `set`, `observe` and the beginning and
            end of timed and tracked blocks, which are faster only where metrics count in values of
            `multiprom.MultiProcessValue`.
    """

def limit_series(metric: object, limit: int | None) -> None:
    """Limit how many label sets a metric may have in this process.

    From the limit on `labels()` gives one child for all further label sets, in which each label is
    `__overflow__`, and which is one of those that the limit allows. A warning is logged once, with
    the number of values of each label, and `multiprom_series_overflow_total` counts how often
    `labels()` gave that child. The environment's MULTIPROM_SERIES_LIMIT, which `install()` reads,
    is the limit of all metrics that have none of their own. Needs `multiprom.install()`.

    Args:
        metric: A metric of prometheus_client's with labels. Children that it has already stay.
        limit: How many; None for any number, whatever the environment says.

    Raises:
        TypeError: `metric` is none, or has no labels.
        ValueError: `limit` is less than 1.
    """

def repeat_statement(metric: object) -> None:
    """Have an `Info` or `Enum` that was set before `install()` say so in files, too.

    One that said it in files before `uninstall()` says it in those of the new value class instead.
    Any other metric is left alone, and so is an `Enum` in the first of its states, which cannot be
    told from one that was never set.

    Raises:
        Exception: Whatever `mmap_key` or the process identifier raises.
    """

def remove_methods() -> None:
    """Put prometheus_client's own methods back, but where a program has replaced the native one."""

@final
class ValueClass:
    """What all values that are counted under one process identifier share.

    Args:
        identify: Returns the identifier, on each operation; None for the pid.
        values: prometheus_client's module `values`, which has `mmap_key`.
        stock_key: prometheus_client's own `mmap_key`, which need not be called; None if it is not
            known.

    Raises:
        OSError: Forks cannot be noticed.

    """

    def __new__(
        cls,
        identify: Callable[[], object] | None,
        values: ModuleType,
        stock_key: Callable[..., str] | None,
    ) -> ValueClass: ...
    def close(self) -> None:
        """Close the files, but keep their locks. Values that count again continue them."""

    def end(self) -> None:
        """Close the files and give up their locks, as the end of the process does.

        Values that count again do so as a new process of the same identifier would.
        """

    def move_on(self) -> None:
        """Move to the directory that the environment names by now, with all that was counted.

        The old files are removed when their counts are in the new ones.
        """

    def heed_patches(self) -> None:
        """Have native methods call the methods of all values from now on: one may be patched."""

@disjoint_base
class Value:
    """One value of one series: see `multiprom.MultiProcessValue`.

    A subclass has the attribute `_value_class`. The arguments are those of prometheus_client's
    value classes.

    Raises:
        ValueError: The key is empty, or longer than the 16 MiB that a file can hold.
        Exception: Whatever `mmap_key` or the process identifier raises.

    """

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_kwargs: Any,
    ) -> None: ...
    def heed_patches(self) -> None:
        """Have native methods call the methods of this value from now on: one may be patched."""

    def inc(self, amount: float) -> None:
        """Add `amount`.

        Raises:
            TypeError: It is no number.
            OverflowError: It is an integer that no float can hold.
            Exception: Whatever the process identifier raises.

        """

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Set the value, and the Unix time in seconds at which it was set.

        Raises:
            TypeError: One of them is no number.
            OverflowError: One of them is an integer that no float can hold.
            Exception: Whatever the process identifier raises.

        """

    def get(self) -> float:
        """Give the value."""

    def set_exemplar(self, exemplar: object) -> None:
        """Keep an `Exemplar` of prometheus_client's, if this is the value of a counter or bucket.

        Anything else is ignored, and so is an exemplar for which there is no file.

        Raises:
            Exception: Whatever the process identifier raises.
        """

    def get_exemplar(self) -> Exemplar | None:
        """Give the exemplar that this process has kept last, if there is one.

        Raises:
            Exception: Whatever the process identifier raises.
        """

def write_unwritten(*, at_end: bool = False) -> None:
    """Make sure that what this process has counted is in the files, as far as that is possible.

    Writes what is counted in memory for want of a file, and files anew that were removed, but those
    not `at_end` of the process.
    """

def warn_later(text: str) -> None:
    """Log the warning `text` when this process next counts, scrapes or ends.

    For code that runs while a value is made: prometheus_client may hold the lock of a metric then,
    for which a log handler that counts lines by level would wait for ever.
    """

def hold_back(call: Callable[[], _Returned]) -> _Returned:
    """Call `call`, and give what it returns; log what there is to say of its counts later.

    Later is as for `warn_later`. The making of a value holds it back anyhow.

    Raises:
        Exception: Whatever `call` raises.

    """

def mark_self_dead(path: str, pid: str) -> None:
    """Learn that this process says of itself, under the identifier `pid`, that it is dead.

    Deletes the files in the directory `path` in which it keeps `live*` gauges, and keeps them from
    coming back.
    """
