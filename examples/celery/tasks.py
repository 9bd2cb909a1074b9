"""A Celery application whose tasks count; the parent of the worker's pool serves the metrics.

The broker is a folder, so that nothing else has to run.
"""

import os
from pathlib import Path

import multiprom

multiprom.install()

from celery import Celery  # noqa: E402
from celery.signals import worker_ready  # noqa: E402
from prometheus_client import CollectorRegistry, Counter, start_http_server  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

MAILS = Counter("shop_mails", "Mails sent.")

queue = Path(os.environ.get("QUEUE", "/tmp/shop-queue"))
for folder in ("tasks", "control"):
    (queue / folder).mkdir(parents=True, exist_ok=True)

app = Celery(
    "tasks",
    broker="filesystem://",
    broker_transport_options={
        "data_folder_in": str(queue / "tasks"),
        "data_folder_out": str(queue / "tasks"),
        "control_folder": str(queue / "control"),
    },
    task_ignore_result=True,
    # Replaces a process of the pool after so many tasks.
    worker_max_tasks_per_child=20,
)


@app.task
def send_mail() -> None:
    """Send a mail, and count it."""
    MAILS.inc()


@worker_ready.connect
def serve_metrics(**_: object) -> None:
    """Serve the metrics of the whole pool."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    start_http_server(int(os.environ.get("PORT", "9100")), "127.0.0.1", registry=registry)
