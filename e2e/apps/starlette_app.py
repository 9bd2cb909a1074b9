"""A Starlette application with starlette-exporter."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import multiprom

multiprom.install()

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette_exporter import PrometheusMiddleware, handle_metrics

if TYPE_CHECKING:
    from starlette.requests import Request


async def answer(_: Request) -> PlainTextResponse:
    """Answer with the pid of the worker."""
    time.sleep(0.002)  # noqa: ASYNC251, so that another worker takes the next connection
    return PlainTextResponse(str(os.getpid()))


app = Starlette(
    routes=[Route("/", answer), Route("/slow", answer), Route("/metrics", handle_metrics)]
)
app.add_middleware(PrometheusMiddleware, skip_paths=["/metrics"])
