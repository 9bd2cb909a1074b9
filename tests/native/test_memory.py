"""Processes that count in memory: only `labels` is native, until the directory is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, sys
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, metrics
from prometheus_client.context_managers import Timer

def native():
    functions = metrics.MetricWrapperBase.labels, Counter.inc, Timer.__exit__
    return [not hasattr(function, "__code__") for function in functions]

counter = Counter("n", "Help", ["x"])
child = counter.labels(1)
child.inc(2)
print(native(), counter.labels(x="1") is counter.labels("1") is child, child._value.get())
try:
    counter.labels(y=1)
except ValueError as error:
    print(error)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
Gauge("g", "Help").set(1)
child.inc()
print(native(), counter.labels(1) is child, child._value.get())
multiprom.uninstall()
print(native(), child._value.get())
"""


def test_labels_only(directory: Path) -> None:
    assert run(SCRIPT, directory).splitlines() == [
        "[True, False, False] True 2.0",
        "Incorrect label names",
        "[True, True, True] True 3.0",
        "[False, False, False] 3.0",
    ]
