"""A metric in the registry that also holds the multiprocess collector: the usual mistake of set-up.

The family would be in the text twice, which Prometheus refuses or takes wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import stock
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, PlatformCollector
from prometheus_client import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
text = globals()[sys.argv[1]]
if sys.argv[2] == "the default registry":
    # As long as there are no files the registry takes the collector.
    registry = REGISTRY
    MultiProcessCollector(registry)
else:
    registry = CollectorRegistry()
    PlatformCollector(registry)
counter = Counter("c", "Help", registry=registry)
histogram = Histogram("h", "Help", ["l"], registry=registry)
if registry is not REGISTRY:
    MultiProcessCollector(registry)
counter.inc(3)
histogram.labels("a").observe(1)
if os.fork() == 0:
    counter.inc(4)
    os._exit(0)
os.wait()
for _ in range(2):
    lines = text(registry).decode().splitlines()
    name = "c_total" if sys.argv[1] == "generate_latest" else "c"
    assert lines.count(f"# TYPE {name} counter") == 1, lines
    assert [line for line in lines if line.startswith("c_total ")] == ["c_total 7.0"], lines
    assert sum(line.startswith("h_count") for line in lines) == 1, lines
    assert any(line.startswith("python_info") for line in lines)
print(len(messages), "MultiProcessCollector" in messages[0], "'c'" in messages[0])
"""


# Before prometheus_client 0.23 its own code writes OpenMetrics.
TEXTS = ["generate_latest", *(["openmetrics"] if stock.ESCAPINGS else [])]


@pytest.mark.parametrize("registry", ["the default registry", "a registry"])
@pytest.mark.parametrize("text", TEXTS)
def test_once_and_one_warning(text: str, registry: str, directory: Path) -> None:
    assert run(SCRIPT, text, registry, PROMETHEUS_MULTIPROC_DIR=directory) == "1 True True\n"


def test_what_is_not_in_shared_files_stays(directory: Path) -> None:
    """Of this process only: a metric that the collector's directory does not have, an Info."""
    script = """
import sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, make_wsgi_app, values
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry, sys.argv[1])
Counter("elsewhere", "Help", registry=registry).inc(2)
Gauge("without_series", "Help", ["l"], registry=registry)

class Version:
    def collect(self):
        return Gauge("version", "Help", registry=None).collect()

registry.register(Version())
text = multiprom.generate_latest(registry).decode()
assert "elsewhere_total 2.0" in text, text
assert "# TYPE without_series gauge" in text, text
assert "version 0.0" in text, text
assert messages == [], messages
"""
    (directory / "other").mkdir()
    run(script, directory / "other", PROMETHEUS_MULTIPROC_DIR=directory)


def test_in_the_applications_and_with_names(directory: Path) -> None:
    script = """
from wsgiref.util import setup_testing_defaults
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
registry = CollectorRegistry()
for name in ("a", "b"):
    Counter(name, "Help", registry=registry).inc()
multiprom.MultiProcessCollector(registry)

def get(query):
    environ = {"QUERY_STRING": query}
    setup_testing_defaults(environ)
    (body,) = make_wsgi_app(registry)(environ, lambda *_: None)
    lines = body.decode().splitlines()
    return [line for line in lines if not line.startswith("#") and "_created" not in line]

print(get(""), get("name[]=a_total"), len(messages), "'a', 'b'" in messages[0])
"""
    expected = "['a_total 1.0', 'b_total 1.0'] ['a_total 1.0'] 1 True\n"
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == expected
