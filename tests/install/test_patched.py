"""prometheus_client's collector was patched before multiprom came: the patch has its effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import counter, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

PATCHED_METHOD = """
import sys
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.metrics_core import GaugeMetricFamily

stock = multiprocess.MultiProcessCollector
read = stock._read_metrics

def patched(*arguments, **keywords):
    return [GaugeMetricFamily("patched", "Help", value=9.0)]

def first_file_only(files):
    return read(sorted(files)[:1])

name = sys.argv[1]
setattr(stock, name, {
    "collect": patched,
    "merge": staticmethod(patched),
    "_read_metrics": staticmethod(first_file_only),
    "_accumulate_metrics": staticmethod(patched),
}[name])

import multiprom
multiprom.install()
assert multiprocess.MultiProcessCollector is multiprom.MultiProcessCollector
for kind in (multiprom.MultiProcessCollector, stock):
    registry = CollectorRegistry()
    collector = kind(registry)
    (metric,) = collector.collect()
    (line,) = [line for line in multiprom.generate_latest(registry).decode().splitlines()
               if line[0] != "#"]
    print(metric.name, metric.samples[0].value, line)
multiprom.uninstall()
assert multiprocess.MultiProcessCollector is stock
"""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("collect", "patched 9.0 patched 9.0\n"),
        ("merge", "patched 9.0 patched 9.0\n"),
        ("_read_metrics", "requests 1.0 requests_total 1.0\n"),
        ("_accumulate_metrics", "patched 9.0 patched 9.0\n"),
    ],
)
def test_a_method(directory: Path, method: str, expected: str) -> None:
    for pid in (1, 2):
        write(directory / f"counter_{pid}.db", [counter(pid)])
    assert run(PATCHED_METHOD, method, PROMETHEUS_MULTIPROC_DIR=directory) == 2 * expected


def test_a_class_that_is_a_mock_is_refused() -> None:
    """Nothing can be a subclass of it; afterwards all is well."""
    printed = run("""
        from unittest import mock
        from prometheus_client import multiprocess
        import multiprom

        with mock.patch("prometheus_client.multiprocess.MultiProcessCollector") as patched:
            try:
                multiprom.install()
            except TypeError as error:
                print(error)
            assert multiprocess.MultiProcessCollector is patched
        multiprom.install()
        print(multiprocess.MultiProcessCollector is multiprom.MultiProcessCollector)
    """)
    assert printed.startswith(
        "prometheus_client.multiprocess.MultiProcessCollector is patched just now"
    )
    assert printed.endswith("\nTrue\n")
