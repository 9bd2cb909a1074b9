"""A real Prometheus that scrapes one target, asked for what it has seen."""

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
from typing import TYPE_CHECKING

import pytest
from support.program import Program

if TYPE_CHECKING:
    from pathlib import Path

# How often it scrapes. A reset that lasts for one scrape only must be met.
INTERVAL = "250ms"

CONFIGURATION = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}
scrape_configs:
- job_name: service
  static_configs:
  - targets: ['{target}']
"""

# Whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Program):
    """A server in a folder of its own; a context manager that ends it."""

    def __init__(self, folder: Path, target: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is not installed: `make e2e` installs it", pytrace=False)
        folder.mkdir()
        configuration = folder / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(interval=INTERVAL, target=target))
        command = [
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        super().__init__(folder, "prometheus.log", command, os.environ)
        self._address = ""

    def query(self, promql: str) -> dict[str, float]:
        """Return the values of an instant query, by the labels that tell them apart."""
        query = urllib.parse.urlencode({"query": promql})
        with _OPENER.open(f"http://{self._address}/api/v1/query?{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return {
            json.dumps(result["metric"], sort_keys=True): float(result["value"][1])
            for result in found["data"]["result"]
        }

    def value(self, promql: str) -> float:
        """Return the only value of an instant query; 0 if there is none."""
        values = list(self.query(promql).values())
        assert len(values) <= 1, values
        return values[0] if values else 0.0

    def wait_for(self, promql: str, value: float) -> None:
        """Wait until a query has this value, at most for 20 seconds: then a test tells."""
        deadline = time.monotonic() + 20
        while self.value(promql) != value and time.monotonic() < deadline:
            time.sleep(0.1)

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
