"""What a program has put in the place of prometheus_client's names keeps its effect."""

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


def test_a_mock_stays_a_mock_and_goes_when_its_patch_ends() -> None:
    """As where the tests of a program import multiprom while they mock prometheus_client."""
    printed = run("""
        import os, tempfile
        from unittest import mock
        import prometheus_client.multiprocess

        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
        with mock.patch("prometheus_client.multiprocess.mark_process_dead") as mark, \\
             mock.patch("prometheus_client.exposition.generate_latest") as text:
            import multiprom
            multiprom.install()
            prometheus_client.multiprocess.mark_process_dead(7)
            mark.assert_called_once_with(7)
            assert prometheus_client.exposition.generate_latest is text
        multiprom.install()
        assert prometheus_client.multiprocess.mark_process_dead is multiprom.mark_process_dead
        assert prometheus_client.exposition.generate_latest is multiprom.generate_latest
        multiprom.uninstall()
        assert "multiprom" not in prometheus_client.multiprocess.mark_process_dead.__module__
        assert "multiprom" not in prometheus_client.exposition.generate_latest.__module__
        print("all right")
    """)
    assert printed.strip() == "all right"
