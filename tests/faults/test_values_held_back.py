"""What is counted in memory for want of a file, and what becomes of it around closes and drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

# The directory is missing at first.
IN_TROUBLE = """
import gc, os, pathlib, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
from multiprom import _core
directory = pathlib.Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}
"""


def test_a_close_does_not_lose_it(directory: Path) -> None:
    script = """
counter = Counter("n", "Help")
counter.inc(5)
values.ValueClass.close_all_files()
directory.mkdir()
print(scrape(), counter._value.get())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "{'n_total': 5.0} 5.0\n"


def test_a_series_made_again_goes_on_from_the_dropped_one(directory: Path) -> None:
    script = """
import warnings
warnings.simplefilter("ignore")
gauge = Gauge("g", "Help", ["a"], multiprocess_mode="max")
counter = Counter("n", "Help", ["a"])
for metric, last in ((gauge, 7), (counter, 2)):
    (metric.labels("x").set if metric is gauge else metric.labels("x").inc)(5)
    metric.remove("x")
    gc.collect()
    (metric.labels("x").set if metric is gauge else metric.labels("x").inc)(last)
print(gauge.labels("x")._value.get(), counter.labels("x")._value.get())
directory.mkdir()
print(scrape())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "7.0 7.0\n{'n_total': 7.0, 'g': 7.0}\n"


def test_a_class_that_is_dropped_writes_it(directory: Path) -> None:
    script = """
made = multiprom.MultiProcessValue(lambda: "a")
value = made("counter", "n", "n_total", (), (), "Help")
value.inc(5)
values._multi_process_cleanups = []
directory.mkdir()
del made, value
gc.collect()
print(scrape())
"""
    missing = directory / "missing"
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=missing)
    assert printed == "{'n_total': 5.0}\n"


def test_each_trouble_is_told_once(directory: Path) -> None:
    script = """
import shutil
counter = Counter("n", "Help")
counter.inc(5)
for _ in range(3):
    shutil.rmtree(directory)
    # A file in the way: the directory cannot be made anew.
    directory.write_text("")
    for number in range(5):
        _core.write_unwritten()
        counter.inc(1)
    print(len(messages), end=" ")
    directory.unlink()
    print(scrape()["n_total"], len(messages))
"""
    (directory / "there").mkdir()
    printed = run(IN_TROUBLE + script, PROMETHEUS_MULTIPROC_DIR=directory / "there")
    assert printed == "1 10.0 2\n3 15.0 4\n5 20.0 6\n"
