"""What an operator sees in a scrape of a server that knows nothing of it but `-c`."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from multiprom import _core
from prometheus_client.parser import text_string_to_metric_families
from support.gunicorn_server import CONFIGURATION, ROOT, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

EXITS = "gunicorn_worker_exits_total"
SPAWNED = "gunicorn_workers_spawned_total"


def environment(directory: Path, **more: str) -> dict[str, str]:
    return {"PROMETHEUS_MULTIPROC_DIR": str(directory), **more}


def exits(samples: dict[str, float]) -> dict[tuple[str, str], float]:
    """Return the workers that have ended, by reason and code."""
    pattern = re.compile(EXITS + r'\{code="(.*)",reason="(.*)"\}')
    found = ((pattern.fullmatch(name), value) for name, value in samples.items())
    return {(match[2], match[1]): value for match, value in found if match}


@each_version
def test_each_process_by_its_slot(version: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=2"]
    with Server(version, tmp_path, *options, environment=environment(directory)) as server:
        server.send_until_answered_by(2)
        samples = server.scrape()
        processes = json.loads(_core.inspect(str(directory)))["processes"]
        slots = {(seen["slot"], seen["role"]) for seen in processes}
        assert slots == {(0, "master"), (1, "worker"), (2, "worker")}
        for seen in processes:
            role, slot = seen["role"], seen["slot"]
            labels = f'{{role="{role}",worker="{slot}"}}'
            # What moves between the two looks is compared with room for that.
            process = psutil.Process(seen["pid"])
            with process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
                assert samples["process_cpu_seconds_total" + labels] == pytest.approx(
                    cpu.user + cpu.system, abs=1
                )
                assert samples["process_resident_memory_bytes" + labels] == pytest.approx(
                    memory.rss, rel=0.2
                )
                assert samples["process_virtual_memory_bytes" + labels] == pytest.approx(
                    memory.vms, rel=0.2
                )
                assert samples["process_start_time_seconds" + labels] == process.create_time()
                assert samples["process_threads" + labels] == process.num_threads()
                switches = process.num_ctx_switches()
            # A scrape has the connection and the directory open.
            assert abs(samples["process_open_fds" + labels] - process.num_fds()) <= 4
            limit, _ = process.rlimit(psutil.RLIMIT_NOFILE)
            assert samples["process_max_fds" + labels] == limit
            for kind in ("voluntary", "involuntary"):
                found = samples[
                    f'process_context_switches_total{{role="{role}",type="{kind}",worker="{slot}"}}'
                ]
                assert 0 <= getattr(switches, kind) - found < 100
        assert samples['multiprom_processes{role="master"}'] == 1
        assert samples['multiprom_processes{role="worker"}'] == 2
        assert samples["multiprom_hidden_processes"] == 0


@each_version
def test_workers_by_how_they_ended(version: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=2", "--timeout=4"]
    with Server(version, tmp_path, *options, environment=environment(directory)) as server:
        killed = min(server.send_until_answered_by(2))
        os.kill(killed, signal.SIGKILL)
        server.until(lambda: killed in server.marked, "notice the death")
        hanging = min(server.send_until_answered_by(2))
        os.kill(hanging, signal.SIGSTOP)
        server.until(lambda: hanging in server.marked, "end the worker that hangs")
        stopped = min(server.send_until_answered_by(2))
        os.kill(stopped, signal.SIGTERM)
        server.until(lambda: stopped in server.marked, "notice the end")
        unnamed = min(server.send_until_answered_by(2))
        os.kill(unnamed, signal.SIGRTMIN + 1)
        server.until(lambda: unnamed in server.marked, "notice the signal without a name")
        server.send_until_answered_by(2)
        samples = server.scrape()
        assert exits(samples) == {
            ("signal", "SIGKILL"): 1,
            ("signal", str(signal.SIGRTMIN + 1)): 1,
            ("timeout", ""): 1,
            ("exit", "0"): 1,
        }
        assert samples[SPAWNED] == 6
        assert samples["gunicorn_workers_configured"] == 2
        assert samples["multiprom_folds_total"] >= 4
        assert samples["multiprom_folded_processes_total"] >= 4
        server.process.send_signal(signal.SIGTTIN)
        server.until(
            lambda: server.scrape()["gunicorn_workers_configured"] == 3, "have another worker"
        )


@each_version
def test_what_is_documented_is_what_is_there(version: str, tmp_path: Path) -> None:
    """All names, types and labels of docs/operating.md on a real page, and no others."""
    pages = (ROOT / "docs" / "operating.md").read_text()
    row = re.compile(r"^\| `(\w+)` \| (counter|gauge) \|([^|]*)\|", re.MULTILINE)
    documented = {
        (name, kind, *sorted(re.findall(r"\w+", labels)))
        for name, kind, labels in row.findall(pages)
    }
    # Only where a metric has a limit.
    documented.remove(("multiprom_series_overflow_total", "counter", "metric"))
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=2"]
    with Server(version, tmp_path, *options, environment=environment(directory)) as server:
        (directory / "cache.db").write_text("of another program")
        killed = min(server.send_until_answered_by(2))
        os.kill(killed, signal.SIGKILL)
        server.until(lambda: killed in server.marked, "notice the death")
        server.send_until_answered_by(2)
        families = list(text_string_to_metric_families(server.get("/metrics")))
    found = {
        (sample.name, family.type, *sorted(sample.labels))
        for family in families
        if not family.name.startswith("app_")
        for sample in family.samples
    }
    assert found == documented


@each_version
def test_workers_that_end_after_their_requests(version: str, tmp_path: Path) -> None:
    """Close together, so that new workers take the slots of some before the master reaps these."""
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=6", "--max-requests=2"]
    with Server(version, tmp_path, *options, environment=environment(directory)) as server:
        server.send(120, threads=12)
        server.until(lambda: len(server.marked) >= 40, "recycle workers")
        found = exits(server.scrape())
        assert found.keys() == {("max_requests", "0")}
        assert found["max_requests", "0"] >= 30


@each_version
def test_requests_at_work_and_connections_that_wait(version: str, tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=1"]
    with Server(version, tmp_path, *options, environment=environment(directory)) as server:
        server.send(3)
        samples = server.scrape()
        assert samples["gunicorn_requests_in_progress"] == 1, "the scrape itself"
        backlogs = [name for name in samples if name.startswith("gunicorn_backlog_connections{")]
        assert len(backlogs) == 1
        assert "127.0.0.1:" in backlogs[0]


def test_the_counts_of_a_master_survive_an_upgrade(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    options = [*CONFIGURATION, "--workers=1"]
    with Server("newest", tmp_path, *options, environment=environment(directory)) as server:
        server.send_until_answered_by(1)
        assert server.scrape()[SPAWNED] == 1
        server.process.send_signal(signal.SIGUSR2)
        server.until(lambda: len(server.masters) == 2 and len(server.booted) == 2, "upgrade")
        server.send_until_answered_by(2)
        assert server.stop() == 0
        server.send_until_answered_by(1)
        samples = server.scrape()
        assert samples[SPAWNED] == 2
        assert samples["gunicorn_workers_configured"] == 1


def test_nothing_of_it_if_it_is_turned_off(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    variables = environment(directory, MULTIPROM_WORKER_METRICS="0")
    with Server("newest", tmp_path, *CONFIGURATION, "--workers=1", environment=variables) as server:
        server.send(1)
        names = {re.split(r"\W", name)[0] for name in server.scrape()}
        assert "app_requests_total" in names
        assert all(name.startswith("app_") for name in names)
        assert {path.name.split("_")[0] for path in directory.glob("*.db")} == {
            "counter",
            "gauge",
            "histogram",
        }
