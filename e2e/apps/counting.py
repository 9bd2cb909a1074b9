"""What the applications under test count: a counter, a histogram and a live gauge."""

from __future__ import annotations

import os
import time

# The contrast run counts with prometheus_client alone.
if "STOCK" not in os.environ:
    import multiprom

    multiprom.install()

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

# So that a kill often meets a request.
SECONDS_OF_WORK = 0.002

if os.environ.get("IDENTIFIER") == "uwsgi":
    # As prometheus_client's documentation has it.
    import uwsgi

    values.ValueClass = values.MultiProcessValue(process_identifier=uwsgi.worker_id)

SECONDS = Histogram("app_seconds", "Duration of a request.")
REQUESTS = Counter("app_requests", "Requests answered, scrapes not counted.")
WORKER = Gauge("app_worker", "One for each process that answers.", multiprocess_mode="liveall")


def registry() -> CollectorRegistry:
    """Return a registry of what all processes count."""
    made = CollectorRegistry()
    MultiProcessCollector(made)
    return made


def count(seconds: float) -> str:
    """Count a request that took so long, and return the pid of the process that counts it."""
    WORKER.set(1)
    SECONDS.observe(seconds)
    REQUESTS.inc()
    return str(os.getpid())


def work(path: str = "/") -> str:
    """Do what a request asks for, count it, and return the pid of the process that did it."""
    time.sleep({"/hang": 60, "/slow": 0.05}.get(path, SECONDS_OF_WORK))
    return count(SECONDS_OF_WORK)
