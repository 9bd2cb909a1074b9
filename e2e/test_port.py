"""The port that one line in the environment of gunicorn opens, scraped by a real Prometheus.

The application does not know of multiprom. Prometheus has each total and the workers in every
scrape, while workers are killed and replaced; only when the process that serves the port is killed
does it wait, no longer than docs/operating.md says.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
from drill import Load, kill
from events import reload
from prometheus_server import INTERVAL_SECONDS, Prometheus
from servers import gunicorn
from service import Service

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 4.0
# Twice half a second, as the process has just been started, until its death is noticed and the next
# one serves: each half a second, and more on a busy machine.
SECONDS_OF_GAP = 4.0
TOTAL = "app_requests_total"
# What the scrapes of the last minutes must all have.
WORKER_METRICS = (
    'process_start_time_seconds{role="master"}',
    'multiprom_processes{role="worker"}',
    "gunicorn_workers_spawned_total",
)
CASE = gunicorn(
    "a port of its own",
    "newest",
    "--worker-class=gthread",
    does="HUP, SIGKILL",
    actions=(reload, kill),
    variables={"MULTIPROM_METRICS_ADDR": "127.0.0.1:{metrics}", "STOCK": "1"},
)


def listening(port: int) -> int:
    """Return the process that listens at a port."""
    (pid,) = {
        int(connection.pid or 0)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    return pid


def refused(prometheus: Prometheus) -> list[float]:
    """Return the scrapes that failed at once: what takes too long says that the machine is busy."""
    scrapes = zip(
        prometheus.series("up[5m]"),
        prometheus.series("scrape_duration_seconds[5m]"),
        strict=False,
    )
    return [seconds for up, seconds in scrapes if not up and seconds < INTERVAL_SECONDS]


def test_a_port_that_one_line_opens_shows_all_in_every_scrape(tmp_path: Path) -> None:
    with Service(CASE, tmp_path) as service:
        load = Load(service)
        load.begin_anew()
        target = f"127.0.0.1:{service.metrics_port}"
        with Prometheus(tmp_path / "prometheus", target) as prometheus:
            load.run(SECONDS)
            assert len(load.pids.keys() - service.living()) > CASE.workers
            workers = 'count(process_resident_memory_bytes{role="worker"})'
            prometheus.wait_for(workers, CASE.workers)
            counted = service.scrape()[TOTAL]
            assert load.answered <= counted - load.base <= load.sent
            prometheus.wait_for(TOTAL, counted)
            assert refused(prometheus) == []
            scrapes = prometheus.value("sum_over_time(up[5m])")
            for name in WORKER_METRICS:
                # Prometheus may scrape between these two questions.
                assert prometheus.value(f"count_over_time({name}[5m])") >= scrapes, name

            os.kill(listening(service.metrics_port), signal.SIGKILL)
            prometheus.wait_for("up", 0)
            assert load.ask() is not None, "a worker answers meanwhile"
            prometheus.wait_for(TOTAL, counted + 1)
            assert 0 < len(refused(prometheus)) * INTERVAL_SECONDS < SECONDS_OF_GAP
            assert prometheus.value(f"resets({TOTAL}[5m])") == 0
            assert not load.faults
