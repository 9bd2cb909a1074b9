"""`MultiProcessCollector` and `mark_process_dead`, merged and done in Rust."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any, cast

import prometheus_client
from prometheus_client import multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from multiprom import _core, environment, moving, reports
from multiprom.stock import bind, is_genuine, original, replaces

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.multiprocess import MultiProcessCollector as StockCollector
else:
    StockCollector = original(multiprocess.MultiProcessCollector)
    if not isinstance(StockCollector, type):
        raise TypeError(
            "prometheus_client.multiprocess.MultiProcessCollector is patched just now, "
            f"and not by a class: {StockCollector!r}; use multiprom before or after that"
        )

# What a program may override or patch; then its own code has to run.
_METHODS = ("collect", "merge", "_read_metrics", "_accumulate_metrics")


def _is_stock(method: object, name: str) -> bool:
    """Say whether `method` is prometheus_client's own, of any import of it."""
    return is_genuine(method, "prometheus_client.multiprocess", f"MultiProcessCollector.{name}")


def _groups_samples() -> bool:
    """Say whether this prometheus_client groups samples by labels, as since 0.24."""
    accumulate: Any = StockCollector._accumulate_metrics  # noqa: SLF001
    if not _is_stock(accumulate, "_accumulate_metrics"):
        metadata = importlib.import_module("importlib.metadata")
        major, minor = metadata.version("prometheus_client").split(".")[:2]
        return (int(major), int(minor)) >= (0, 24)
    metric = Metric("m", "", "summary")
    for name, value in (("m_sum", "a"), ("m_sum", "b"), ("m_count", "a")):
        metric.add_sample(name, cast("Any", (("l", value),)), 0.0)
    (merged,) = accumulate({"m": metric}, accumulate=True)
    return [sample.name for sample in merged.samples] == ["m_sum", "m_count", "m_sum"]


DIALECT = (_groups_samples(), floatToGoString(1e10) == "1e+010")
"""What differs between versions of prometheus_client: see `_core.pyi`."""


class MultiProcessCollector(StockCollector):
    """Collects the metrics of all processes that share a directory.

    As prometheus_client's class of this name, of which it is a subclass; results are
    prometheus_client's `Metric` and `Sample`. What is different:

    - `merge` and `collect` are done in Rust, with the GIL released while files are read.
    - `collect` takes the files in name order, so that a scrape is deterministic.
    - What a file holds never makes them fail: see `multiprom.left_out`.
    - Sums are exact, rounded once.
    - The path is taken literally, also if it has glob characters.

    A subclass may override `collect`, `merge`, `_read_metrics` and `_accumulate_metrics`, and they
    may be patched: they are used then. What `collect` calls of them is called once more if the
    files of dead processes were folded meanwhile.

    Args:
        registry: A registry to register with, or None. Anything with `register` will do.
        path: The directory, as a str or a path; default: PROMETHEUS_MULTIPROC_DIR, or its
            lower-case form, which is deprecated.

    Raises:
        ValueError: The directory, given or set, is not a directory. The message is
            prometheus_client's, which speaks of the variable only, with the path behind it.

    """

    def __init__(self, registry: Any, path: Any = None) -> None:
        # The variable may have been set since install(), or since the latest metric was made.
        moving.look_again()
        # What was removed while this process counts is there again.
        _core.write_unwritten()
        if not os.environ.get(environment.VARIABLE):
            # Empty is as good as unset, but not for prometheus_client's code.
            os.environ.pop(environment.VARIABLE, None)
        named = environment.named_directory() if path is None else os.fsdecode(path)
        if named and not os.path.isdir(named):  # noqa: PTH112
            raise ValueError(f"env {environment.VARIABLE} is not set or not a directory: {named!r}")
        super().__init__(registry, path)
        self._registry = registry

    @staticmethod
    def merge(files: Iterable[Any], accumulate: bool = True) -> list[Metric]:
        """Merge the metrics of `files`, in the order given.

        Args:
            files: Paths of metrics files, as str, bytes or path objects. One that does not exist
                counts as empty.
            accumulate: Whether to make histogram buckets cumulative and count them, as the
                exposition wants it. False to write the result into files again.

        Returns:
            Families and samples in prometheus_client's order.

        Raises:
            TypeError: `files` is one path, or holds something that is no path.
            ValueError: A path has a NUL in it.
            OSError: None of the files can be read (mostly a PermissionError then), or reading
                failed for a reason that will pass, such as too many open files.

        """
        if _has_own_steps(MultiProcessCollector):
            return _merge_in_steps(MultiProcessCollector, files, accumulate=accumulate)
        paths = _paths(files)
        metrics, left_out = _core.merge_files(paths, bool(accumulate), DIALECT, Metric, Sample)
        reports.report(left_out, files=paths)
        return metrics

    @staticmethod
    def _read_metrics(files: Iterable[Any]) -> dict[str, Metric]:
        paths = _paths(files)
        metrics, left_out = _core.read_files(paths, Metric, Sample)
        reports.report(left_out, files=paths)
        return metrics

    def collect(self) -> list[Metric]:
        """Merge the metrics files of the directory, in name order.

        Raises:
            OSError: None of the files can be read (mostly a PermissionError then), or reading
                failed for a reason that will pass, such as too many open files.

        """
        path = os.fsdecode(self._path)
        if reads_directory(self, calling="collect"):
            metrics, left_out = _core.merge_directory(path, DIALECT, Metric, Sample, self)
            reports.report(left_out, directory=path)
            return metrics

        def merge(files: list[str], left_out: list[reports.Report]) -> list[Metric]:
            reports.report(left_out, directory=path)
            return self._merge_as_overridden(files)

        return _core.read_consistently(path, merge)

    def _merge_as_overridden(self, files: list[str]) -> list[Metric]:
        if _is_ours_or_stock(self, "merge"):
            return _merge_in_steps(self, files, accumulate=True)
        # Now, also of what gives its results one after another.
        return list(self.merge(files, accumulate=True))


for _name in _METHODS:
    if not _is_stock(getattr(StockCollector, _name), _name):
        # Patched before multiprom was imported: what the program put there shall be used.
        with contextlib.suppress(AttributeError):
            delattr(MultiProcessCollector, _name)

_OUR_METHODS = {name: getattr(MultiProcessCollector, name) for name in _METHODS}


def _is_ours_or_stock(collector: Any, name: str) -> bool:
    method = getattr(collector, name)
    method = getattr(method, "__func__", method)
    is_ours = method is _OUR_METHODS[name] and getattr(method, "__module__", None) == __name__
    return is_ours or _is_stock(method, name)


def _paths(files: Iterable[Any]) -> list[str]:
    if isinstance(files, (str, bytes, os.PathLike)):
        raise TypeError(f"files must be several paths, not one: {files!r}")
    return [os.fsdecode(file) for file in files]


def _has_own_steps(collector: Any) -> bool:
    steps = ("_read_metrics", "_accumulate_metrics")
    return not all(_is_ours_or_stock(collector, name) for name in steps)


def _merge_in_steps(collector: Any, files: Iterable[Any], *, accumulate: bool) -> list[Metric]:
    metrics = collector._read_metrics(files)  # noqa: SLF001
    return list(collector._accumulate_metrics(metrics, accumulate))  # noqa: SLF001


def reads_directory(collector: object, *, calling: str | None = None) -> bool:
    """Say whether all that `collector` gives is what the files of its directory hold.

    That is so for a MultiProcessCollector, prometheus_client's or ours, of which nothing is
    overridden or patched. `calling` names a method that is known to be ours.
    """
    # Not isinstance, which asks the object.
    return issubclass(type(collector), StockCollector) and all(
        name == calling or _is_ours_or_stock(collector, name) for name in _METHODS
    )


def mark_process_dead(pid: int | str, path: str | os.PathLike[str] | None = None) -> None:
    """Delete the files in which process `pid` keeps its `live*` gauges; nothing else.

    As prometheus_client's, but pid and path are taken literally, also with glob characters. A file
    stays that another living process holds with multiprom: containers that share a directory have
    the same pids.

    Args:
        pid: The process identifier.
        path: The directory; default: PROMETHEUS_MULTIPROC_DIR, or its lower-case form.

    Raises:
        ValueError: No path is given or set.
        OSError: A file could not be deleted.

    """
    directory = environment.directory(path)
    if not environment.can_be_in_a_name(str(pid)):
        return
    # Looked up now: programs add modes of their own.
    modes = multiprocess._LIVE_GAUGE_MULTIPROCESS_MODES  # noqa: SLF001
    # A process that says this of itself does not bring the files back.
    _core.mark_self_dead(directory, str(pid))
    _core.remove_live_files(directory, str(pid), sorted(modes))


_stock_mark = original(multiprocess.mark_process_dead)
_is_bound = is_genuine(_stock_mark, "prometheus_client.multiprocess", "mark_process_dead")

replaces(MultiProcessCollector, StockCollector)
if _is_bound:
    replaces(mark_process_dead, _stock_mark)

bind(__name__, prometheus_client if _is_bound else None)
