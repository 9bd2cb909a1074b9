"""A real Prometheus that scrapes one target, asked for what it saw and what its rules say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.program import Program

if TYPE_CHECKING:
    from pathlib import Path

# How often it scrapes. A reset that lasts for one scrape only must be met.
INTERVAL_SECONDS = 0.25

CONFIGURATION = """
global:
  scrape_interval: {milliseconds}ms
  scrape_timeout: {milliseconds}ms
  evaluation_interval: {milliseconds}ms
rule_files: {rules}
scrape_configs:
- job_name: service
  static_configs:
  - targets: ['{target}']
"""

# Whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Program):
    """A server in a folder of its own; a context manager that ends it."""

    def __init__(self, folder: Path, target: str, *rules: Path) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is not installed: `make e2e` installs it", pytrace=False)
        folder.mkdir()
        configuration = folder / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.format(
                milliseconds=round(INTERVAL_SECONDS * 1000),
                rules=json.dumps([str(file) for file in rules]),
                target=target,
            )
        )
        command = [
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
        ]
        super().__init__(folder, "prometheus.log", command, os.environ)
        self._address = ""

    def query(self, promql: str) -> dict[str, float]:
        """Return the values of an instant query, by the labels that tell them apart."""
        return {
            json.dumps(result["metric"], sort_keys=True): float(result["value"][1])
            for result in self._ask(promql)
        }

    def series(self, selector: str) -> list[float]:
        """Return all values of the only series of a range vector, such as `up[5m]`."""
        (result,) = self._ask(selector)
        return [float(value) for _, value in result["values"]]

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules: what each is, when it was last evaluated, and whether that failed."""
        groups = self._get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def exemplars(self, selector: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each exemplar of the last minute that it keeps."""
        now = time.time()
        found = self._get("query_exemplars", query=selector, start=now - 60, end=now + 60)
        kept = [exemplar for series in found for exemplar in series["exemplars"]]
        return [(exemplar["labels"], float(exemplar["value"])) for exemplar in kept]

    def _ask(self, promql: str) -> Any:
        return self._get("query", query=promql)["result"]

    def _get(self, what: str, **parameters: object) -> Any:
        url = f"http://{self._address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with _OPENER.open(url, timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, promql: str) -> float:
        """Return the only value of an instant query; 0 if there is none."""
        values = list(self.query(promql).values())
        assert len(values) <= 1, values
        return values[0] if values else 0.0

    def wait_for(self, promql: str, value: float) -> None:
        """Wait until a query has this value."""
        self.until(lambda: self.value(promql) == value, f"show {value} for {promql}", seconds=20)

    def wait_until_ready(self) -> None:
        """Wait until the server listens and has scraped."""
        self.until(self._has_scraped, "scrape", seconds=60)

    def _has_scraped(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"prometheus has ended:\n{self.log}")
        listening = re.search(r'msg="?Listening on"? address=(\S+)', self.log)
        self._address = listening[1] if listening else ""
        # It listens before it answers queries.
        with contextlib.suppress(urllib.error.HTTPError):
            return bool(listening and self.value("up"))
        return False
