"""Prints the metrics of all processes, as a scrape gives them, and changes nothing."""

from __future__ import annotations

import fnmatch
import importlib
from typing import TYPE_CHECKING, Any

import multiprom
from multiprom.cli import directory, output
from multiprom.cli.failure import ATTENTION, DONE, Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

HELP = "print all metrics as text, OpenMetrics or JSON"
EXAMPLES = """\
examples:
  multiprom export /run/metrics
  multiprom export --format openmetrics > metrics.txt
  multiprom export --json --name 'http_*' --name jobs_total
"""
_FORMATS = ("text", "openmetrics", "json")
# Reasons of the core to leave out files of other programs, of which no metric is lost.
_FOREIGN = ("the name fits no metrics file", "not a regular file")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    parser.add_argument("--format", choices=_FORMATS, default="text", help="(default: text)")
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )
    parser.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="only the metric or the samples of this name; * is any text, ? any one character; "
        "may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    """Print the metrics."""
    path = directory.readable(options)
    directory.only_look()
    collector = multiprom.MultiProcessCollector(None, path)
    names: list[str] = options.name or []
    if options.format == "json":
        metrics = list(_chosen(collector.collect(), names))
        output.print_json("export", _document(path, metrics))
        is_empty = not metrics
    else:
        text = _text(collector, names, is_openmetrics=options.format == "openmetrics")
        output.print_bytes(text)
        is_empty = text in (b"", b"# EOF\n")
    if names and is_empty:
        raise Failure(f"no metric is named {' or '.join(names)}", ATTENTION)
    is_damaged = any(item.reason not in _FOREIGN for item in multiprom.left_out())
    return ATTENTION if is_damaged else DONE


def _text(
    collector: multiprom.MultiProcessCollector, names: Sequence[str], *, is_openmetrics: bool
) -> bytes:
    exposition = importlib.import_module("multiprom.exposition")
    registries = importlib.import_module("multiprom.registries")
    encode = exposition.openmetrics_latest if is_openmetrics else exposition.generate_latest
    registry: Any
    if names:
        registry = registries.Metrics(list(_chosen(collector.collect(), names)))
    else:
        registry = importlib.import_module("prometheus_client").CollectorRegistry()
        registry.register(collector)
    text: bytes = encode(registry)
    return text


def _chosen(metrics: Iterable[Metric], names: Sequence[str]) -> Iterator[Metric]:
    """Give the metrics of these names whole, and of others the samples of these names."""

    def is_meant(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in names)

    for metric in metrics:
        if names and not is_meant(metric.name):
            metric.samples = [sample for sample in metric.samples if is_meant(sample.name)]
            if not metric.samples:
                continue
        yield metric


def _document(path: str, metrics: Iterable[Metric]) -> dict[str, Any]:
    families = [
        {
            "name": metric.name,
            "type": metric.type,
            "help": metric.documentation,
            "samples": [
                {
                    "name": sample.name,
                    "labels": dict(sample.labels),
                    "value": output.number(sample.value),
                }
                for sample in metric.samples
            ],
        }
        for metric in metrics
    ]
    left_out = [item._asdict() for item in multiprom.left_out()]
    return {"directory": path, "families": families, "left_out": left_out}
