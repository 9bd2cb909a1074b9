"""The rules and the dashboard of examples/monitoring: Prometheus takes them, and they can fire.

A real Prometheus has data for each of their queries, and is right about the time of workers
that come and go: the label `worker` is a slot, whose counter begins anew with the next one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from drill import Load
from prometheus_server import INTERVAL_SECONDS, Prometheus
from servers import gunicorn
from service import Service

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "examples" / "monitoring"
DOCUMENT = ROOT / "docs" / "operating.md"
# Names of PromQL and of labels, and what the rules record themselves.
_METRIC = re.compile(r"\b(?:process|gunicorn|multiprom)_\w+\b(?!:)")
_VARIABLES = {"$job": "service", "$instance": ".*", "$__rate_interval": "5m"}
CPU = "process_cpu_seconds_total"
# Workers that are killed, and the processor time that each has used by then.
KILLS = 6
SECONDS_OF_WORKER = 0.4


def promtool(*arguments: str | Path, text: str = "") -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        cwd=MONITORING,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries() -> list[str]:
    dashboard: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for name, value in _VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    return found


def test_the_rules_are_rules() -> None:
    assert "12 rules found" in promtool("check", "rules", "rules.yml")


def test_the_rules_do_what_they_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_the_queries_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    assert "$" not in "".join(queries())
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def documented() -> set[str]:
    """Return the metrics of multiprom that docs/operating.md names."""
    return set(_METRIC.findall(DOCUMENT.read_text()))


def test_all_metrics_are_documented() -> None:
    rules = re.sub(r"summary:.*", "", (MONITORING / "rules.yml").read_text())
    expressions = [*queries(), *re.findall(r"expr:(.*?)(?:\n +\w+:|\Z)", rules, re.DOTALL)]
    used = {name for text in expressions for name in _METRIC.findall(text)}
    assert len(used) > 15
    assert used - documented() == set()


def test_the_dashboard_can_be_laid_out() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in panels]
    assert len(set(places)) == len(places)
    assert all(x + width <= 24 for x, _, width, _ in places)
    assert {name["name"] for name in dashboard["templating"]["list"]} == {
        "datasource",
        "job",
        "instance",
    }


@pytest.mark.quick
def test_each_query_and_each_rule_has_data(tmp_path: Path) -> None:
    case = gunicorn(
        "monitored",
        "newest",
        *("--worker-class=gthread", "--max-requests=200"),
        app="labels_app:app",
        variables={"MULTIPROM_SERIES_LIMIT": "2"},
    )
    with Service(case, tmp_path) as service:
        (service.directory / "cache.db").write_text("of another program")
        target = f"127.0.0.1:{service.port}"
        with Prometheus(tmp_path / "prometheus", target, MONITORING / "rules.yml") as prometheus:
            Load(service).run(4)

            def queries_without_data() -> list[str]:
                for path in ("/a", "/b", "/c"):
                    service.get(path)
                rules = prometheus.rules()
                assert len(rules) == 12
                assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, rules
                recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
                return [query for query in [*queries(), *recorded] if not prometheus.query(query)]

            service.until(
                lambda: not queries_without_data(), f"have data for {queries_without_data()}"
            )
            assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
            text = service.get("/metrics")[1]
            # Of names, help texts and types: it prints what it would have otherwise.
            assert promtool("check", "metrics", text=text) == ""
            exposed = set(re.findall(r"(?m)^(?:process|gunicorn|multiprom)_\w+", text))
            assert len(exposed) > 20
            assert exposed - documented() == set()


def spent(service: Service) -> float:
    """Return the processor time of all processes of a service that ever lived, in seconds."""
    seconds = 0.0
    for pid in service.living():
        times = psutil.Process(pid).cpu_times()
        # The master has waited for the dead, whose time is that of its children.
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@pytest.mark.quick
def test_processor_time_is_right_though_workers_come_and_go(tmp_path: Path) -> None:
    case = gunicorn("killed", "newest", "--preload", app="labels_app:app")
    with Service(case, tmp_path) as service:
        target = f"127.0.0.1:{service.port}"
        with Prometheus(tmp_path / "prometheus", target) as prometheus:
            prometheus.wait_for(f"count({CPU})", 1 + case.workers)
            before = spent(service)
            killed: set[int] = set()
            worked: dict[int, float] = {}
            while len(killed) < KILLS:
                status, body = service.get("/burn")
                assert status == 200, body
                pid, seconds = body.split()
                worked[int(pid)] = float(seconds)
                if worked[int(pid)] > SECONDS_OF_WORKER:
                    # Prometheus shall have seen all that the worker has used.
                    time.sleep(3 * INTERVAL_SECONDS)
                    os.kill(int(pid), signal.SIGKILL)
                    killed.add(int(pid))
                    service.until(lambda: len(service.living()) == 1 + case.workers, "be whole")
            time.sleep(3 * INTERVAL_SECONDS)
            increases = prometheus.query(f"increase({CPU}[5m])")
            after = spent(service)
            assert len(increases) == 1 + case.workers, "a label `worker` for each slot"
            assert all(increase >= 0 for increase in increases.values()), increases
            assert sum(increases.values()) == pytest.approx(after - before, rel=0.1, abs=0.2)
            assert prometheus.value(f"sum(resets({CPU}[5m]))") == KILLS
