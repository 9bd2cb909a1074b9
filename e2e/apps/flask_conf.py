"""gunicorn's configuration, as prometheus-flask-exporter's documentation has it."""

from __future__ import annotations

import os
from typing import Any

import multiprom

multiprom.install()

from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

port = os.environ.get("METRICS_PORT")

if port:

    def when_ready(_server: Any) -> None:
        """Serve the metrics on a port of their own."""
        GunicornPrometheusMetrics.start_http_server_when_ready(int(str(port)), "127.0.0.1")


def child_exit(server: Any, worker: Any) -> None:
    """Mark the worker as dead."""
    del server
    GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
