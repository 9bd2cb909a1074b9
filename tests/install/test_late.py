"""The variable is set after install(), as middleware, dotenv files and settings modules do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.files import MAGIC, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

LATE = """
import os, sys
import multiprom
directory = sys.argv[1]
multiprom.install()

def scrape():
    from prometheus_client.multiprocess import MultiProcessCollector
    collector = MultiProcessCollector(None)
    return {s.name: s.value for metric in collector.collect() for s in metric.samples}
"""

SET = 'os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory\n'

# What comes when, besides the imports and the collector.
ORDERS = {
    "the variable, then prometheus_client, then metrics": SET
    + """
from prometheus_client import Counter
counter = Counter("n", "Help")
counter.inc(5)
""",
    "prometheus_client, then the variable, then metrics": f"""
from prometheus_client import Counter
{SET}
counter = Counter("n", "Help")
counter.inc(5)
""",
    "metrics, then the variable, then others": f"""
from prometheus_client import Counter
counter = Counter("n", "Help")
counter.inc(5)
{SET}
other = Counter("o", "Help")
other.inc(1)
""",
    "metrics, then the variable": f"""
from prometheus_client import Counter
counter = Counter("n", "Help")
counter.inc(5)
{SET}
""",
    "metrics of a registry of one's own": f"""
from prometheus_client import CollectorRegistry, Counter
counter = Counter("n", "Help", ["label"], registry=CollectorRegistry()).labels("a")
counter.inc(5)
{SET}
""",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_it_does_not_matter_when(order: str, directory: Path) -> None:
    script = """
print(scrape()["n_total"])
counter.inc(1)
print(scrape()["n_total"], counter._value.get(), counter._value._multiprocess)
"""
    assert run(LATE + order + script, directory) == "5.0\n6.0 6.0 True\n"
    [file] = directory.glob("counter_*.db")
    assert magic(file) == MAGIC


def test_the_deprecated_spelling(directory: Path) -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from prometheus_client import Counter
counter = Counter("n", "Help")
counter.inc(5)
os.environ["prometheus_multiproc_dir"] = directory
Counter("o", "Help").inc(1)
print(scrape())
"""
    assert run(LATE + script, directory) == "{'n_total': 5.0, 'o_total': 1.0}\n"


def test_gauges_and_histograms(directory: Path) -> None:
    script = f"""
from prometheus_client import Gauge, Histogram, Summary
gauges = [Gauge(mode, "Help", multiprocess_mode=mode) for mode in ("livesum", "max", "mostrecent")]
never = Gauge("never", "Help", multiprocess_mode="mostrecent")
for gauge in gauges:
    gauge.set(5)
histogram, summary = Histogram("h", "Help", buckets=[1, 2]), Summary("s", "Help")
histogram.observe(1.5)
summary.observe(3)
{SET}
print(scrape())
"""
    assert eval(run(LATE + script, directory)) == {
        "livesum": 5.0,
        "max": 5.0,
        "mostrecent": 5.0,
        "h_bucket": 1.0,
        "h_count": 1.0,
        "h_sum": 1.5,
        "s_count": 1.0,
        "s_sum": 3.0,
    }


def test_the_collector_by_the_name_of_multiprom(directory: Path) -> None:
    script = f"""
from prometheus_client import Counter
Counter("n", "Help").inc(5)
{SET}
[metric] = multiprom.MultiProcessCollector(None).collect()
print(metric.samples[0].value)
"""
    assert run(LATE + script, directory) == "5.0\n"


def test_who_holds_the_value_class(directory: Path) -> None:
    """It is asked where values count, and may be kept, or stand behind another class."""
    script = f"""
from prometheus_client import Counter, values
kept = values.ValueClass

class Own(kept):
    pass

counter = Counter("n", "Help")
print(kept._multiprocess, counter._value._multiprocess, type(counter._value).__mro__[1].__name__)
print(isinstance(counter._value, kept), isinstance(values.MutexValue(*"abcdef"), kept))
print(isinstance(1, kept), values.get_value_class() is values.MutexValue)
{SET}
print(kept._multiprocess)
value = kept("counter", "m", "m_total", (), (), "Help")
own = Own("counter", "o", "o_total", (), (), "Help")
own.inc(3)
value.inc(2)
print(isinstance(value, values.ValueClass), value._multiprocess, values.ValueClass is kept)
found = scrape()
print(found["n_total"], found["m_total"], own.get())
multiprom.uninstall()
print(kept("counter", "n", "n", (), (), "Help")._multiprocess, values.ValueClass.__name__)
"""
    assert run(LATE + script, directory).splitlines() == [
        "False False MutexValue",
        "True True",
        "False True",
        "True",
        "True True False",
        "0.0 2.0 3.0",
        "False MutexValue",
    ]


def test_values_of_the_multiprocess_class_are_as_fast_as_ever(directory: Path) -> None:
    """Once the directory is known, nothing of ours stands before the class."""
    script = f"""
from prometheus_client import Counter, values
{SET}
counter = Counter("n", "Help")
print(type(counter._value) is values.ValueClass, "inc" in vars(counter._value))
print(type(values.ValueClass).__call__ is type.__call__, values.ValueClass.__name__)
"""
    assert run(LATE + script, directory) == "True False\nTrue MmapedValue\n"


@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
@pytest.mark.parametrize("is_first", [False, True], ids=["first prometheus_client", "first ours"])
def test_an_empty_variable_is_as_good_as_unset(
    variable: str, is_first: bool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
directory = sys.argv[1]
{"" if is_first else "import prometheus_client"}
import multiprom
multiprom.install()
from prometheus_client import Counter, values
counter = Counter("n", "Help")
counter.inc(5)
print(values.ValueClass._multiprocess, counter._value._multiprocess, os.listdir(directory))
os.environ[{variable!r}] = directory
Counter("o", "Help").inc(1)
collector = multiprom.MultiProcessCollector(None)
print({{s.name: s.value for metric in collector.collect() for s in metric.samples}})
"""
    variables: Any = {variable: ""}
    printed = run(script, directory, **variables)
    assert printed == "False False []\n{'n_total': 5.0, 'o_total': 1.0}\n"


def test_what_is_logged(directory: Path) -> None:
    """One line if no directory is named; one warning where a metric cannot move."""
    script = """
import logging
from support.warned import logger, messages
logger.setLevel(logging.INFO)
multiprom.uninstall()
multiprom.install()
multiprom.install()
from prometheus_client import Counter

class Refusing(Counter):
    def _metric_init(self):
        if hasattr(self, "refuses"):
            raise ValueError("no")
        super()._metric_init()

multiprom.uninstall()
refusing = Refusing("refusing", "Help")
refusing.refuses = True
counter = Counter("n", "Help")
refusing.inc(2)
counter.inc(5)
multiprom.install(directory)
multiprom.install(directory)
refusing.inc(1)
print(scrape(), refusing._value.get())
print(*messages, sep="\\n")
"""
    found, information, warning = run(LATE + script, directory).splitlines()
    assert found == "{'n_total': 5.0} 3.0"
    assert information == "metrics count in memory until PROMETHEUS_MULTIPROC_DIR names a directory"
    assert warning == (
        "could not move __main__.Refusing(refusing) into shared files: it counts in memory, and no "
        "scrape has it; set PROMETHEUS_MULTIPROC_DIR before it is made (ValueError('no'))"
    )


FORKS = """
from prometheus_client import CollectorRegistry, Counter, Gauge
registry = CollectorRegistry()
elsewhere = Counter("elsewhere", "Help", ["label"], registry=registry).labels("a")
multiprom.install(also=[registry])
counter = Counter("n", "Help")
gauges = [Gauge(name, "Help", multiprocess_mode="livesum") for name in ("same", "other")]
metrics = [counter, elsewhere, *gauges]
for metric in metrics:
    metric.inc(5)

def fork(run):
    pid = os.fork()
    if pid == 0:
        run()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return pid
"""


def test_a_fork_before_the_variable_is_set(directory: Path) -> None:
    """What was counted in memory before the fork is the parent's, as after the variable is set."""
    script = f"""
def work():
    counter.inc(1)
    elsewhere.inc(1)
    gauges[1].set(2)
    {SET.strip()}
    scrape()
    counter.inc(1)

print(*[fork(work) for _ in range(2)], fork(lambda: [counter.inc(1), fork(work)]))
{SET}
scrape()
print(os.getpid())
"""
    first, second, empty, parent = run(LATE + FORKS + script, directory).split()
    counts = [values_of(file)["n_total"] for file in directory.glob("counter_*.db")]
    assert sorted(counts) == [2.0, 2.0, 2.0, 5.0]
    for pid in (first, second):
        found = values_of(directory / f"counter_{pid}.db")
        assert found == {"n_total": 2.0, "elsewhere_total a": 1.0}
        # Files of processes that exit in this way stay.
        found = values_of(directory / f"gauge_livesum_{pid}.db")
        assert found == {"same": 0.0, "other": 2.0}
    assert not (directory / f"counter_{empty}.db").exists()
    found = values_of(directory / f"counter_{parent}.db")
    assert found == {"n_total": 5.0, "elsewhere_total a": 5.0}
    found = values_of(directory / f"gauge_livesum_{parent}.db")
    assert found == {"same": 5.0, "other": 5.0}


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_nothing_is_made_after_the_variable_is_set(end: str, directory: Path) -> None:
    """The end of the process is the last occasion to look it up."""
    script = f"""
from prometheus_client import Counter
counter = Counter("n", "Help")
print(os.getpid())
{SET}
counter.inc(5)
{end}
"""
    pid = run(LATE + script, directory).strip()
    assert values_of(directory / f"counter_{pid}.db") == {"n_total": 5.0}


def test_threads_make_metrics_as_the_variable_is_set(directory: Path) -> None:
    script = f"""
import threading
from prometheus_client import Counter
sys.setswitchinterval(1e-6)
counter = Counter("n", "Help", ["label"])
barrier = threading.Barrier(5)

def make(number):
    for label in range(100):
        counter.labels(f"{{number}} {{label}}").inc(1)
    barrier.wait()
    barrier.wait()
    for label in range(100, 200):
        counter.labels(f"{{number}} {{label}}").inc(1)

threads = [threading.Thread(target=make, args=[number]) for number in range(4)]
for thread in threads:
    thread.start()
barrier.wait()
{SET}
barrier.wait()
for thread in threads:
    thread.join()
[metric] = multiprom.MultiProcessCollector(None).collect()
print(sum(s.value for s in metric.samples))
"""
    assert run(LATE + script, directory) == "800.0\n"


def test_a_process_that_never_installs_is_none_of_ours(directory: Path) -> None:
    """prometheus_client's users assert that metrics made too early are not in a scrape."""
    script = f"""
import os, sys
directory = sys.argv[1]
import multiprom
from prometheus_client import Counter, values
counter = Counter("n", "Help")
counter.inc(5)
{SET}
Counter("o", "Help").inc(1)
print(list(multiprom.MultiProcessCollector(None).collect()), values.ValueClass.__name__)
"""
    assert run(script, directory) == "[] MutexValue\n"


@pytest.mark.parametrize("old", [True, False])
def test_an_empty_variable_is_as_good_as_none(old: bool, tmp_path: Path) -> None:
    """No file appears in the working directory."""
    directory, elsewhere = tmp_path / "metrics", tmp_path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    printed = run(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import multiprom
        os.chdir(sys.argv[1])
        multiprom.install()
        from prometheus_client import Counter, Gauge
        counter = Counter("n", "Help")
        counter.inc(5)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["prometheus_multiproc_dir"] = ""
        Gauge("level", "Help", multiprocess_mode="max").set(3)
        counter.inc(1)
        print(os.listdir())
        """,
        elsewhere,
        PROMETHEUS_MULTIPROC_DIR="" if old else directory,
        prometheus_multiproc_dir=directory if old else "",
    )
    assert printed == "[]\n"
    [file] = directory.glob("counter_*.db")
    assert values_of(file) == {"n_total": 6.0}
    [file] = directory.glob("gauge_max_*.db")
    assert values_of(file) == {"level": 3.0}
