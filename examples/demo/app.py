"""A small shop that counts what it does; it imports prometheus_client and knows no multiprom.

gunicorn runs it in several processes, so /metrics merges the files that they write:
https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
    multiprocess,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

REQUESTS = Counter("shop_requests", "Requests answered.", ["page", "status"])
SECONDS = Histogram("shop_request_seconds", "Time to answer a request.", ["page"])
IN_FLIGHT = Gauge("shop_in_flight", "Requests at work right now.", multiprocess_mode="livesum")
LAST = Gauge(
    "shop_last_request_time_seconds",
    "When a living worker was last asked for something.",
    multiprocess_mode="livemostrecent",
)
WORKER = Gauge(
    "shop_worker_start_time_seconds",
    "Since when each living worker works.",
    multiprocess_mode="liveall",
)

PAGES = {f"/product/{number}": 2_000 + 100 * number for number in range(20)}
STARTED = time.time()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer /metrics with what all workers counted, and a page with a bit of work."""
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        scrape: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
        return scrape
    page = environ["PATH_INFO"] if environ["PATH_INFO"] in PAGES else "other"
    WORKER.set(STARTED)
    LAST.set_to_current_time()
    with IN_FLIGHT.track_inprogress(), SECONDS.labels(page).time():
        checksum = sum(range(PAGES.get(page, 0)))
        status = "404 Not Found" if page == "other" else "200 OK"
        body = f"{page}: {checksum}, from worker {os.getpid()}\n".encode()
    REQUESTS.labels(page, status[:3]).inc()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
