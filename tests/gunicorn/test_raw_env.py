"""The directory may be named in gunicorn's `raw_env`, which reaches the environment late."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, KEEPING_FILES, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path


def assert_counts_in(metrics: Path, server: Server) -> None:
    server.send(3)
    assert server.scrape()["app_requests_total"] == 3
    assert server.private_directories == []
    assert [path.name for path in metrics.glob("counter_*.db")] == [
        f"counter_{pid}.db" for pid in server.booted
    ]
    assert server.stop() == 0
    assert server.marked == server.booted
    assert [path.name for path in metrics.glob("counter_*.db")] == ["counter_compacted.db"]
    assert "Traceback" not in server.log


@each_version
@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_on_the_command_line(version: str, variable: str, tmp_path: Path) -> None:
    metrics = tmp_path / "var" / "metrics"
    options = [*CONFIGURATION, "-e", "OTHER=1", "-e", f"{variable}={metrics}"]
    with Server(version, tmp_path, *options) as server:
        assert_counts_in(metrics, server)


@each_version
def test_in_the_variable_of_gunicorn(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    options = f"--env=PROMETHEUS_MULTIPROC_DIR={metrics} {' '.join(CONFIGURATION)}"
    with Server(version, tmp_path, environment={"GUNICORN_CMD_ARGS": options}) as server:
        assert_counts_in(metrics, server)


@each_version
@pytest.mark.parametrize("is_list", [True, False])
def test_in_a_configuration_file(version: str, is_list: bool, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    setting = f"PROMETHEUS_MULTIPROC_DIR={metrics}"
    (tmp_path / "gunicorn.conf.py").write_text(
        f"raw_env = {[setting] if is_list else setting!r}\n"
        "from multiprom.gunicorn import child_exit\n"
    )
    with Server(version, tmp_path) as server:
        assert_counts_in(metrics, server)


@each_version
def test_as_gunicorn_does_the_command_line_wins(version: str, tmp_path: Path) -> None:
    losers = {name: tmp_path / name for name in ("in_file", "in_arguments", "in_environment")}
    setting = "PROMETHEUS_MULTIPROC_DIR={}".format
    (tmp_path / "gunicorn.conf.py").write_text(
        f"raw_env = [{setting(losers['in_file'])!r}]\nfrom multiprom.gunicorn import child_exit\n"
    )
    environment = {
        "GUNICORN_CMD_ARGS": f"--env={setting(losers['in_arguments'])}",
        "PROMETHEUS_MULTIPROC_DIR": str(losers["in_environment"]),
    }
    metrics = tmp_path / "metrics"
    options = [f"--env={setting(metrics)}"]
    with Server(version, tmp_path, *options, environment=environment) as server:
        assert_counts_in(metrics, server)
    assert [path for path in losers.values() if path.exists()] == []


@each_version
def test_is_kept_by_a_reload(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    options = [*CONFIGURATION, f"--env=PROMETHEUS_MULTIPROC_DIR={metrics}"]
    with Server(version, tmp_path, *options, environment=KEEPING_FILES) as server:
        server.send(3)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: len(server.booted) == 2 and server.marked, "replace its worker")
        server.send(2)
        assert server.scrape()["app_requests_total"] == 5
        assert len(list(metrics.glob("counter_*.db"))) == 2
        assert server.private_directories == []


@each_version
def test_other_variables_are_no_matter(version: str, tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION, "--env=OTHER=1") as server:
        server.send(3)
        assert server.scrape()["app_requests_total"] == 3
        assert len(server.private_directories) == 1
