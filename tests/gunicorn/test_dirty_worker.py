"""gunicorn 25 and later keep dirty workers under an arbiter, which has a hook of its own."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

from support.gunicorn_server import Server

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
from multiprom.gunicorn import child_exit, dirty_worker_exit

dirty_apps = ["dirty_app:App"]
dirty_workers = 1
"""


def test_a_killed_dirty_worker_loses_its_live_gauges(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    with Server("newest", tmp_path) as server:

        def living() -> list[int]:
            found = (re.fullmatch(r'dirty_worker\{pid="(\d+)"\}', name) for name in samples)
            return [int(match[1]) for match in found if match and samples[match[0]] == 1]

        samples: dict[str, float] = {}

        def scraped() -> bool:
            samples.clear()
            samples.update(server.scrape())
            return bool(living())

        server.until(scraped, "start a dirty worker")
        [victim] = living()
        assert samples["dirty_starts_total"] == 1

        os.kill(victim, signal.SIGKILL)
        server.until(lambda: victim in server.marked, "mark the killed dirty worker")
        server.until(scraped, "replace the killed dirty worker")
        assert victim not in living()
        assert samples["dirty_starts_total"] == 2

        [private] = server.private_directories
        assert server.stop() == 0
        assert not private.exists()
        assert "Traceback" not in server.log
