"""Workers that end, whichever way: live gauges go, and all that was counted stays.

Nothing runs any more in a worker that dies of SIGKILL, as the kernel does it when memory runs out,
so only the master can take its live gauges away.
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "sync": ["--worker-class=sync"],
    "gthread": ["--worker-class=gthread", "--threads=2"],
    "preload": ["--preload"],
}


@each_version
@pytest.mark.parametrize("kind", KINDS)
def test_live_gauges_go_and_counters_stay(version: str, kind: str, tmp_path: Path) -> None:
    named = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    options = [*CONFIGURATION, "--workers=2", *KINDS[kind]]
    with Server(version, tmp_path, *options, environment=named) as server:
        victim, survivor = sorted(server.send_until_answered_by(2))
        before = server.scrape()
        assert before["app_alive"] == 2
        assert before[f'app_worker{{pid="{victim}"}}'] == 1
        assert before["app_requests_total"] == server.sent

        os.kill(victim, signal.SIGKILL)
        server.until(lambda: victim in server.marked, "mark the killed worker")
        after = server.scrape()
        assert after["app_alive"] == 1
        assert f'app_worker{{pid="{victim}"}}' not in after
        assert after[f'app_worker{{pid="{survivor}"}}'] == 1
        counted = {name: value for name, value in before.items() if name.startswith("app_seconds_")}
        assert counted["app_seconds_count"] == server.sent
        assert {name: after[name] for name in counted} == counted
        assert after["app_requests_total"] == server.sent

        server.until(lambda: len(server.booted) == 3, "replace the killed worker")
        server.send_until_answered_by(2)
        final = server.scrape()
        assert final["app_alive"] == 2
        assert final["app_requests_total"] == server.sent
        assert server.marked == [victim]


@each_version
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_counters_equal_the_requests_sent(version: str, kind: str, tmp_path: Path) -> None:
    recycling = ["--workers=2", "--max-requests=5", f"--worker-class={kind}"]
    with Server(version, tmp_path, *CONFIGURATION, *recycling) as server:
        server.send(60, threads=1)
        server.until(lambda: len(server.marked) >= 10, "recycle ten workers")
        samples = server.scrape()
        assert samples["app_requests_total"] == 60
        assert samples["app_seconds_count"] == 60
        assert samples['app_seconds_bucket{le="+Inf"}'] == 60
        # Each went once: no worker was forgotten, and none was marked twice.
        server.until(lambda: len(server.booted) == len(server.marked) + 2, "replace the last")
        assert len(set(server.marked)) == len(server.marked)
        assert set(server.marked) < set(server.booted)
        assert "Traceback" not in server.log


@each_version
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_every_worker_is_marked_once(version: str, sent: signal.Signals, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    with Server(version, tmp_path, *CONFIGURATION, "--workers=3", environment=named) as server:
        server.send_until_answered_by(3)
        (master,) = server.masters
        # Two of each worker, and one of the master.
        assert len(list(metrics.glob("gauge_live*.db"))) == 7
        assert server.stop(sent) == 0
        assert sorted(server.marked) == sorted(server.booted)
        assert len(server.marked) == 3
        left = {path.name for path in metrics.glob("gauge_live*.db")}
        assert left == {f"gauge_livesum_{master}.db"}, (
            "what the master counts, until the next start"
        )
        left = {path.name for path in metrics.glob("counter_*.db")}
        assert left == {"counter_compacted.db", f"counter_{master}.db"}
        assert "could not mark" not in server.log
        if sent is signal.SIGTERM:
            # At SIGINT gunicorn's workers leave at once, also from the end of a request.
            assert "Traceback" not in server.log


DIRTY = """
from multiprom.gunicorn import child_exit, dirty_worker_exit

dirty_apps = ["dirty_app:App"]
dirty_workers = 1
"""


def test_a_killed_dirty_worker_loses_its_live_gauges(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(DIRTY)
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
