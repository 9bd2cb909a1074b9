"""An ASGI application under test, which counts its requests; nobody tells it of dead workers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import multiprom
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

multiprom.install()

REQUESTS = Counter("app_requests", "Requests answered, scrapes not counted.")
SECONDS = Histogram("app_seconds", "Duration of a request.")

REGISTRY = CollectorRegistry()
MultiProcessCollector(REGISTRY)
METRICS = multiprom.make_asgi_app(REGISTRY)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer /metrics with a scrape and anything else with the pid of the worker."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"] == "/metrics":
        await METRICS(scope, receive, send)
    else:
        with SECONDS.time():
            await asyncio.sleep(0)
        REQUESTS.inc()
        body = str(os.getpid()).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
