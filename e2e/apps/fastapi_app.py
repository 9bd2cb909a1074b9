"""A FastAPI application with prometheus-fastapi-instrumentator."""

from __future__ import annotations

import os
import time

import multiprom

multiprom.install()

from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()
Instrumentator(excluded_handlers=["/metrics"]).instrument(app).expose(app)


@app.get("/")
@app.get("/slow")
async def answer() -> int:
    """Answer with the pid of the worker."""
    time.sleep(0.002)  # noqa: ASYNC251, so that another worker takes the next connection
    return os.getpid()
