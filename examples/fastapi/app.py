"""A FastAPI application under several uvicorn workers.

uvicorn has no hook that runs in a new worker, so the module of the application calls `install()`.
"""

import multiprom
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

multiprom.install()

from prometheus_client import (  # noqa: E402 -- as a program would that was written without multiprom
    CollectorRegistry,
    Counter,
    Histogram,
    make_asgi_app,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

REQUESTS = Counter("shop_requests", "Requests answered.")
SECONDS = Histogram("shop_request_seconds", "Time to answer a request.")

registry = CollectorRegistry()
MultiProcessCollector(registry)

app = FastAPI()
app.mount("/metrics", make_asgi_app(registry))


@app.get("/", response_class=PlainTextResponse)
async def home() -> str:
    """Answer, and count it."""
    with SECONDS.time():
        REQUESTS.inc()
        return "hello\n"
