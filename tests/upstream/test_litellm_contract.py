"""The contract of LiteLLM's `mark_worker_exit`, kept by our hook.

LiteLLM runs gunicorn inside its own program, preloads its application, and hands gunicorn a
`child_exit` only where PROMETHEUS_MULTIPROC_DIR is set. Its own tests look like these.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from prometheus_client import CollectorRegistry, multiprocess
from support.gunicorn_server import Server, each_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARK = "prometheus_client.multiprocess.mark_process_dead"

WORKER = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram

Counter("requests", "h").inc(float(sys.argv[1]))
Histogram("latency", "h").observe(float(sys.argv[1]))
Gauge("in_flight", "h", multiprocess_mode="livesum").set(float(sys.argv[1]))
Gauge("peak", "h", multiprocess_mode="max").set(float(sys.argv[1]))
print(os.getpid())
"""


@pytest.fixture
def child_exit(directory: Path) -> Callable[[Any, Any], None]:
    # Imported while the variable is set, so that it need not make a directory.
    assert directory.is_dir()
    hook: Callable[[Any, Any], None] = importlib.import_module("multiprom.gunicorn").child_exit
    return hook


def work(directory: Path, amount: float, script: str = WORKER) -> int:
    """Run a process that counts and ends without a word, and return its pid."""
    run = subprocess.run(
        [sys.executable, "-c", script, str(amount)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return int(run.stdout)


def test_it_is_called_once_with_the_pid(child_exit: Callable[[Any, Any], None]) -> None:
    log = mock.Mock()
    with mock.patch(MARK) as mark:
        child_exit(SimpleNamespace(log=log), SimpleNamespace(pid=4711))
    assert mark.mock_calls == [mock.call(4711)]
    assert [call[0] for call in log.method_calls] == ["info"]


@pytest.mark.parametrize(
    "variables",
    [{}, {"PROMETHEUS_MULTIPROC_DIR": ""}, {"prometheus_multiproc_dir": ""}],
    ids=["unset", "empty", "lower case empty"],
)
def test_without_the_variable_it_is_not_called(
    child_exit: Callable[[Any, Any], None],
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    log = mock.Mock()
    with mock.patch(MARK) as mark:
        child_exit(SimpleNamespace(log=log), SimpleNamespace(pid=4711))
    mark.assert_not_called()
    assert log.method_calls == []


def test_the_lower_case_variable_counts_too(
    child_exit: Callable[[Any, Any], None], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setenv("prometheus_multiproc_dir", str(directory))
    with mock.patch(MARK) as mark:
        child_exit(SimpleNamespace(log=mock.Mock()), SimpleNamespace(pid=4711))
    mark.assert_called_once_with(4711)


@pytest.mark.parametrize("error", [OSError("disk on fire"), ValueError("?"), AttributeError("x")])
def test_an_exception_becomes_a_warning(
    child_exit: Callable[[Any, Any], None], error: Exception
) -> None:
    log = mock.Mock()
    with mock.patch(MARK, side_effect=error):
        child_exit(SimpleNamespace(log=log), SimpleNamespace(pid=4711))
    [(level, args, _)] = log.method_calls
    assert level == "warning"
    text = args[0] % args[1:]
    assert text.startswith("could not mark worker 4711 as dead: ")
    assert str(error) in text


def test_a_dead_workers_part_of_a_live_sum_goes_and_its_counts_stay(
    child_exit: Callable[[Any, Any], None], directory: Path
) -> None:
    dead, alive = work(directory, 3.0), work(directory, 2.0)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    assert registry.get_sample_value("in_flight") == 5.0
    files = {path.name for path in directory.glob("*.db")}

    child_exit(SimpleNamespace(log=mock.Mock()), SimpleNamespace(pid=dead))
    assert registry.get_sample_value("in_flight") == 2.0
    assert registry.get_sample_value("requests_total") == 5.0
    assert registry.get_sample_value("latency_count") == 2.0
    assert registry.get_sample_value("latency_sum") == 5.0
    assert registry.get_sample_value("peak") == 3.0
    left = {path.name for path in directory.glob("*.db")}
    assert files - left == {f"gauge_livesum_{dead}.db"}
    assert {f"counter_{dead}.db", f"histogram_{dead}.db", f"counter_{alive}.db"} <= left


def test_what_a_sweep_has_removed_is_marked_without_a_word(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """LiteLLM's own clean-up may come after the next worker has started, which sweeps."""
    monkeypatch.setenv("MULTIPROM_COMPACTION", "on")
    script = WORKER.replace("import os, sys\n", "import os, sys, multiprom\nmultiprom.install()\n")
    dead = work(directory, 3.0, script)
    assert list(directory.glob("gauge_live*"))
    assert work(directory, 2.0, script) != dead
    assert not list(directory.glob(f"gauge_live*_{dead}.db"))
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    caplog.set_level("DEBUG")
    for mark in (multiprom.mark_process_dead, multiprocess.mark_process_dead):
        for _ in range(2):
            assert mark(dead) is None
    assert caplog.records == []
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files


@each_version
def test_a_program_with_gunicorn_inside(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    named = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    with Server(version, tmp_path, environment=named, command="embedded_server.py") as server:
        victim = min(server.send_until_answered_by(2))
        assert server.scrape()["app_alive"] == 2
        os.kill(victim, signal.SIGKILL)
        server.until(lambda: server.marked == [victim], "mark the killed worker")
        samples = server.scrape()
        assert samples["app_alive"] == 1
        assert samples["app_requests_total"] == server.sent
        server.send_until_answered_by(2)
        assert server.stop() == 0
        assert "Traceback" not in server.log
