"""A WSGI application under test; like any user's, it knows prometheus_client only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

REQUESTS = Counter("app_requests", "Requests answered, scrapes not counted.")
SECONDS = Histogram("app_seconds", "Duration of a request.")
ALIVE = Gauge("app_alive", "Live workers that have answered.", multiprocess_mode="livesum")
WORKER = Gauge("app_worker", "One per such worker.", multiprocess_mode="liveall")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer /metrics with a scrape and anything else with the pid of the worker."""
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        with SECONDS.time():
            if environ["PATH_INFO"] == "/slow":
                time.sleep(0.05)
            ALIVE.set(1)
            WORKER.set(1)
            body = str(os.getpid()).encode()
        REQUESTS.inc()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
