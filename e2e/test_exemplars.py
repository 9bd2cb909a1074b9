"""Exemplars of several processes, as a real Prometheus keeps them and gives them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_server import Prometheus
from support.interpreters import another

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = """
import os, sys, time
import multiprom
multiprom.install()
from prometheus_client import CollectorRegistry, Counter, Enum, Histogram, Info

counter = Counter("app_requests", "Requests.", ["method"])
histogram = Histogram("app_seconds", "Seconds.", buckets=[0.1, 1])
Info("app_build", "Build.").info({"version": '1 "quoted"'})
Enum("app_state", "State.", states=["starting", "running"]).state("running")
parent = os.getpid()
for worker in ("first", "second"):
    if os.fork() == 0:
        number = 0
        while os.getppid() == parent:
            number += 1
            trace = {"trace_id": f"{worker}-{number}", "note": "näher, }{ beschrieben"}
            counter.labels("GET").inc(2, exemplar=trace)
            histogram.observe(0.05 if worker == "first" else 5, trace)
            time.sleep(0.03)
        os._exit(0)
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry)
server, _ = multiprom.start_http_server(0, addr="127.0.0.1", registry=registry)
print(server.server_port, flush=True)
sys.stdin.readline()
"""


@pytest.mark.quick
def test_prometheus_has_the_exemplars_of_all_workers(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    with (
        another(directory, SERVICE) as (_, port),
        Prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}") as prometheus,
    ):

        def workers(query: str) -> set[str]:
            found = prometheus.exemplars(query)
            assert {labels["note"] for labels, _ in found} <= {"näher, }{ beschrieben"}
            return {labels["trace_id"].split("-")[0] for labels, _ in found}

        both = {"first", "second"}
        prometheus.until(lambda: workers("app_requests_total") == both, "see both", seconds=30)
        assert {value for _, value in prometheus.exemplars("app_requests_total")} == {2.0}
        assert workers('app_seconds_bucket{le="0.1"}') == {"first"}
        assert workers('app_seconds_bucket{le="+Inf"}') == {"second"}
        assert workers('app_seconds_bucket{le="1.0"}') == set()
        (build,) = prometheus.query("app_build_info")
        assert '"version": "1 \\"quoted\\""' in build
        assert prometheus.value('app_state{app_state="running"}') == 1
        assert prometheus.series("up[1m]").count(0) == 0
