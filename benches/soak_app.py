"""The application of `make soak`: it counts in each kind of metric that crosses processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    make_wsgi_app,
    multiprocess,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

REQUESTS = Counter("soak_requests", "Requests answered.", ["page"])
SECONDS = Histogram("soak_seconds", "Time to answer a request.", ["page"])
BYTES = Summary("soak_bytes", "Size of an answer.")
IN_FLIGHT = Gauge("soak_in_flight", "Requests at work right now.", multiprocess_mode="livesum")
LARGEST = Gauge("soak_largest_bytes", "The largest answer.", multiprocess_mode="max")
LAST = Gauge("soak_last_time_seconds", "Time of the last.", multiprocess_mode="mostrecent")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer /metrics with what all processes counted, and each other page with its name."""
    page = environ["PATH_INFO"]
    if page == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        scrape: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
        return scrape
    with IN_FLIGHT.track_inprogress(), SECONDS.labels(page).time():
        body = page.encode()
        BYTES.observe(len(body))
        LARGEST.set(len(body))
        LAST.set_to_current_time()
    REQUESTS.labels(page).inc()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
