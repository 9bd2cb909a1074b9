"""What a real Prometheus sees of a service whose workers come and go: no counter ever falls.

It takes any fall, if only by the last bit, for a restart, and adds the whole value once more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from drill import Load, kill
from prometheus_server import INTERVAL_SECONDS, Prometheus
from servers import GUNICORN, QUIET_NEWEST, SERVERS
from service import Case, Service

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 15.0
# Whatever the machine is busy with.
SCRAPES_AT_LEAST = 15
COUNTERS = ("app_requests_total", "app_seconds_count", "app_seconds_sum", "app_seconds_bucket")
TOTAL = COUNTERS[0]
SEEN = [
    case
    for case in SERVERS
    if case.gunicorn == "newest"
    and case.name in ("gunicorn gthread, preload", "uvicorn", "granian wsgi")
]
STOCK = Case(
    "prometheus_client alone, files of dead workers deleted",
    (
        *(*GUNICORN, *QUIET_NEWEST, "--workers=2", "--worker-class=gthread"),
        *("--config={root}/e2e/apps/deleting_conf.py", "wsgi_app:app"),
    ),
    "prometheus_client",
    "SIGKILL",
    actions=(kill,),
    variables={"STOCK": "1"},
)


def run(service: Service, load: Load, prometheus: Prometheus) -> None:
    """Send requests and kill workers, and let Prometheus see what was counted in the end."""
    load.run(SECONDS)
    time.sleep(1)
    prometheus.wait_for("up", 1)
    assert prometheus.value(f"count_over_time({TOTAL}[5m])") >= SCRAPES_AT_LEAST
    assert len(load.pids.keys() - service.living()) > 5


@pytest.mark.quick
@pytest.mark.parametrize("case", SEEN, ids=[case.name for case in SEEN])
def test_no_counter_falls(case: Case, tmp_path: Path) -> None:
    with Service(case, tmp_path) as service:
        load = Load(service)
        target = f"127.0.0.1:{service.metrics_port}"
        with Prometheus(tmp_path / "prometheus", target) as prometheus:
            first = prometheus.value(TOTAL)
            run(service, load, prometheus)
            for name in COUNTERS:
                resets = prometheus.query(f"resets({name}[5m])")
                assert resets, name
                assert not any(resets.values()), (name, resets)
            assert load.answered <= prometheus.value(TOTAL) - first <= load.sent
            # What lies before its first and behind its last sample, Prometheus guesses.
            increase = prometheus.value(f"sum(increase({TOTAL}[5m]))")
            assert increase == pytest.approx(load.answered, rel=0.1), service.log
            # A worker that is killed while it answers Prometheus breaks an answer off. What takes
            # too long says that the machine is busy, or both workers still start. Prometheus
            # goes on scraping between these two questions.
            scrapes = zip(
                prometheus.series("up[5m]"),
                prometheus.series("scrape_duration_seconds[5m]"),
                strict=False,
            )
            broken_off = [up for up, seconds in scrapes if not up and seconds < INTERVAL_SECONDS]
            assert len(broken_off) <= len(load.pids.keys() - service.living())
            assert not load.faults


@pytest.mark.quick
def test_counters_fall_where_files_of_the_dead_are_deleted(tmp_path: Path) -> None:
    with Service(STOCK, tmp_path) as service:
        load = Load(service)
        with Prometheus(tmp_path / "prometheus", f"127.0.0.1:{service.port}") as prometheus:
            run(service, load, prometheus)
            assert prometheus.value(f"resets({TOTAL}[5m])") > 3
            assert prometheus.value(f"sum(increase({TOTAL}[5m]))") > 1.2 * load.sent
