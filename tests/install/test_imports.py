"""install() at any moment of a process: before or after the first import, and after the second.

Two known test suites delete prometheus_client from sys.modules and import it again, to get a value
class of their own choice. What was bound to the old modules must then bind to the new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import Entry, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _files(directory: Path) -> None:
    # Its pid comes out whole with multiprom only.
    write(directory / "gauge_all_a_1.db", [Entry("jobs", "jobs", value=2)])


def test_import_is_light() -> None:
    """prometheus_client decides at import how metrics count: nothing may import it too early."""
    assert run("""
        import sys
        import multiprom
        print("prometheus_client" in sys.modules)
        multiprom.install()
        print("prometheus_client" in sys.modules)
    """) == ("False\nTrue\n")


def test_the_variable_may_be_set_after_the_import(directory: Path) -> None:
    assert run(
        """
        import os, sys
        import multiprom
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
        multiprom.install()
        from prometheus_client import Counter, values
        print(values.ValueClass._multiprocess)
        Counter("n", "Help").inc()
        """,
        directory,
    ) == ("True\n")
    assert len(list(directory.glob("counter_*.db"))) == 1


USE = """
def text():
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry)
    text = generate_latest(registry).decode().splitlines()[-1]
    metric = next(iter(collector.collect()))
    import prometheus_client.metrics_core
    # A stale class would not be an instance of the new one.
    return text, isinstance(metric, prometheus_client.metrics_core.Metric)

def forget():
    import sys
    for name in [name for name in sys.modules if name.split(".")[0] == "prometheus_client"]:
        del sys.modules[name]
"""
OURS = "('jobs{pid=\"a_1\"} 2.0', True)\n"


def test_before_the_first_import(directory: Path) -> None:
    script = USE + "import multiprom; multiprom.install(); print(text())"
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == OURS


def test_after_the_first_import(directory: Path) -> None:
    script = USE + "import prometheus_client, multiprom; multiprom.install(); print(text())"
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == OURS


def test_install_again_after_a_second_import(directory: Path) -> None:
    script = """
import multiprom
for _ in range(3):
    multiprom.install()
    print(text())
    forget()
"""
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory) == OURS * 3


def test_install_after_the_second_import(directory: Path) -> None:
    script = """
import multiprom
multiprom.install()
forget()
import prometheus_client
multiprom.install()
print(text())
"""
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory) == OURS


def test_uninstall_after_a_second_import(directory: Path) -> None:
    """The new modules are as they came; the old ones are nobody's."""
    script = """
import multiprom
multiprom.install()
forget()
import prometheus_client
from prometheus_client import multiprocess
multiprom.uninstall()
print(multiprocess.MultiProcessCollector.__module__)
multiprom.install()
print(text())
multiprom.uninstall()
print(multiprocess.MultiProcessCollector.__module__)
"""
    stock = "prometheus_client.multiprocess\n"
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory) == stock + OURS + stock


def test_names_of_multiprom_follow_a_second_import(directory: Path) -> None:
    script = """
import multiprom
def own():
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry)
    print(isinstance(collector, MultiProcessCollector))
    print(multiprom.generate_latest(registry).decode().splitlines()[-1])
own()
forget()
own()
"""
    expected = 'True\njobs{pid="a_1"} 2.0\n' * 2
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory) == expected


def test_metrics_written_with_install_in_force(directory: Path) -> None:
    """From the metric of an application to its text, with nothing but install() added."""
    script = """
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
import os

Counter("requests", "Help", ["code"]).labels("200").inc(3)
Gauge("busy", "Help", multiprocess_mode="livesum").set(5)
Histogram("took", "Help", buckets=[1]).observe(0.5)

def scrape():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if line[0] != "#" and not line.startswith("jobs"))

print(scrape())
mark_process_dead(os.getpid())
print(scrape())
"""
    lines = [
        'requests_total{code="200"} 3.0',
        'took_bucket{le="+Inf"} 1.0',
        'took_bucket{le="1.0"} 1.0',
        "took_count 1.0",
        "took_sum 0.5",
    ]
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        str(["busy 5.0", *lines]),
        str(lines),
    ]


def test_uninstall_reaches_modules_of_an_earlier_import(directory: Path) -> None:
    """Who had its names before the first install() has its own prometheus_client's again.

    Who took them meanwhile goes on with multiprom's, which work with the new import.
    """
    script = """
import sys, types
module = sys.modules["application"] = types.ModuleType("application")
exec("from prometheus_client import generate_latest", vars(module))
stock = module.generate_latest

import multiprom
multiprom.install()
print(module.generate_latest is multiprom.generate_latest)
from prometheus_client import generate_latest as taken_meanwhile
forget()
import prometheus_client
multiprom.install()
multiprom.uninstall()
print(module.generate_latest is stock)
print(prometheus_client.generate_latest.__module__)
registry = prometheus_client.CollectorRegistry()
multiprom.MultiProcessCollector(registry)
print(taken_meanwhile(registry).decode().splitlines()[-1])
"""
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory).splitlines() == [
        "True",
        "True",
        "prometheus_client.exposition",
        'jobs{pid="a_1"} 2.0',
    ]


def test_asking_for_reports_imports_nothing(directory: Path) -> None:
    """It would decide how metrics count before the program wants it decided."""
    script = """
import sys
import multiprom
multiprom.install()
text()
forget()
print(multiprom.left_out(), multiprom.LeftOut.__name__, len(multiprom.inspect().files))
print("prometheus_client" in sys.modules)
"""
    assert run(USE + script, PROMETHEUS_MULTIPROC_DIR=directory) == "() LeftOut 1\nFalse\n"
