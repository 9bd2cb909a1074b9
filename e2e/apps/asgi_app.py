"""An ASGI application that counts its requests and shows what all its workers have counted."""

from __future__ import annotations

import asyncio
from typing import Any

import counting
from prometheus_client import make_asgi_app

METRICS = make_asgi_app(counting.registry())


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer /metrics with a scrape and anything else with the pid of the worker."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"] == "/metrics":
        await METRICS(scope, receive, send)
    else:
        if scope["path"] == "/slow":
            # With the event loop held, another worker takes the next connection.
            body = counting.work("/slow").encode()
        else:
            await asyncio.sleep(counting.SECONDS_OF_WORK)
            body = counting.count(counting.SECONDS_OF_WORK).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
