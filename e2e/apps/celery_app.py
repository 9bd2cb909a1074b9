"""A Celery worker whose parent is a web server: each request is a task for its own pool."""

from __future__ import annotations

import os

import counting
import front
from celery import Celery
from celery.signals import worker_ready
from prometheus_client import generate_latest

app = Celery("e2e", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.worker_prefetch_multiplier = 1


@app.task
def work(path: str) -> str:
    """Count, in a process of the pool."""
    return counting.work(path)


@worker_ready.connect
def serve(**_: object) -> None:
    """Serve in the parent of the pool."""
    registry = counting.registry()
    front.serve(
        int(os.environ["PORT"]),
        lambda path: work.delay(path).get(timeout=5, disable_sync_subtasks=False),
        lambda: generate_latest(registry),
    )
