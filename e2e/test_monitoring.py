"""The rules and the dashboard of examples/monitoring: Prometheus takes them, and they can fire."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "examples" / "monitoring"
# Names of PromQL and of labels, and what the rules record themselves.
_METRIC = re.compile(r"\b(?:process|gunicorn|multiprom)_\w+\b(?!:)")
_VARIABLES = {"$job": "shop", "$instance": ".*", "$__rate_interval": "5m"}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        cwd=MONITORING,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries() -> list[str]:
    dashboard: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_rules_are_rules() -> None:
    assert "11 rules found" in promtool("check", "rules", "rules.yml")


def test_the_rules_do_what_they_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_the_queries_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    rules = []
    for number, query in enumerate(queries()):
        for name, value in _VARIABLES.items():
            query = query.replace(name, value)  # noqa: PLW2901
        assert "$" not in query
        rules.append({"record": f"query:{number}", "expr": query})
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_all_metrics_are_documented() -> None:
    documented = set(_METRIC.findall((ROOT / "docs" / "operating.md").read_text()))
    rules = re.sub(r"summary:.*", "", (MONITORING / "rules.yml").read_text())
    expressions = [*queries(), *re.findall(r"expr:(.*?)(?:\n +\w+:|\Z)", rules, re.DOTALL)]
    used = {name for text in expressions for name in _METRIC.findall(text)}
    assert len(used) > 15
    assert used - documented == set()


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
