"""install() called many times, as by a library that cannot know who called it before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


def test_it_remembers_each_metric_once(directory: Path) -> None:
    script = """
import sys
from multiprom import moving, observables
import multiprom
from prometheus_client import Counter

class Odd(Counter):
    # Equal to all others, and without a hash.
    def __eq__(self, other):
        return True

metrics = [Odd(f"n{number}", "Help", registry=None) for number in range(10)]
for metric in metrics:
    metric.inc(5)

def call():
    multiprom.install(sys.argv[1], also=metrics)

for _ in range(100):
    call()
print(len(observables._with_new), len(moving._moved))
multiprom.uninstall()
for metric in metrics:
    metric.inc(1)
print({metric._value.get() for metric in metrics}, metrics[0]._value._multiprocess)
"""
    assert run(script, directory) == "10 10\n{6.0} False\n"


def test_it_forgets_metrics_that_are_gone(directory: Path) -> None:
    script = """
import gc, sys
import multiprom
from multiprom import observables
from prometheus_client import CollectorRegistry, Counter

for number in range(20):
    registry = CollectorRegistry()
    Counter("n", "Help", registry=registry).inc(1)
    multiprom.install(sys.argv[1], also=[registry])
registry = None
gc.collect()
print(len(observables._with_new) < 5)
"""
    assert run(script, directory) == "True\n"
