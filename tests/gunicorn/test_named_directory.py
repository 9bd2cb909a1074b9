"""A directory that the user names: where it is made, however gunicorn comes to know of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.gunicorn_server import CONFIGURATION, KEEPING_FILES, Server, each_version

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# What a configuration file may take from the module.
IMPORTS = {
    "child_exit": "from multiprom.gunicorn import child_exit\n",
    "all hooks": "from multiprom.gunicorn import *\n",
}
LOADING = {"": [], "preload": ["--preload"]}


def assert_counts_in(metrics: Path, server: Server) -> None:
    server.send(3)
    assert server.scrape()["app_requests_total"] == 3
    # A master that has loaded the application counts too.
    masters = {f"counter_{pid}.db" for pid in server.masters}
    found = {path.name for path in metrics.glob("counter_*.db")}
    assert found - masters == {f"counter_{pid}.db" for pid in server.booted}
    assert server.stop() == 0
    assert server.private_directories == []
    assert server.marked == server.booted
    found = {path.name for path in metrics.glob("counter_*.db")}
    assert found - masters == {"counter_compacted.db"}
    assert "Traceback" not in server.log


@each_version
def test_it_is_made_with_its_parents_and_kept(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "var" / "lib" / "metrics"
    named = {VARIABLE: str(metrics), **KEEPING_FILES}
    with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
        server.send(3)
        assert server.private_directories == []
        assert server.stop() == 0
    [pid] = server.booted
    assert (metrics / f"counter_{pid}.db").is_file()
    assert (metrics / f"histogram_{pid}.db").is_file()
    assert not (metrics / f"gauge_livesum_{pid}.db").exists()
    with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
        assert server.scrape()["app_requests_total"] == 3, "the last run's counts are still there"


@each_version
def test_the_lower_case_variable_names_it_too(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    # An upper-case variable that is set to nothing must not hide it.
    for upper in ({}, {VARIABLE: ""}):
        named = {"prometheus_multiproc_dir": str(metrics), "PYTHONWARNINGS": "always", **upper}
        with Server(version, tmp_path, *CONFIGURATION, environment=named) as server:
            before = server.scrape().get("app_requests_total", 0)
            server.send(3)
            assert server.scrape()["app_requests_total"] == before + 3
            assert server.private_directories == []
            assert server.stop() == 0
            assert server.marked == server.booted
            assert list(metrics.glob("counter_*.db"))
            assert "prometheus_multiproc_dir" not in server.log, "a warning about the old spelling"


@each_version
@pytest.mark.parametrize("setting", ["variable", "raw_env"])
def test_one_that_cannot_be_made_is_a_clear_error(
    version: str, setting: str, tmp_path: Path
) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("in the way")
    for path in (obstacle, obstacle / "metrics"):
        named = {VARIABLE: str(path)} if setting == "variable" else {}
        options = [] if named else [f"--env={VARIABLE}={path}"]
        server = Server(version, tmp_path, *CONFIGURATION, *options, environment=named)
        server.launch()
        try:
            assert server.process.wait(timeout=30) == 1
        finally:
            server.kill()
        [line] = [line for line in server.log.splitlines() if str(path) in line]
        why = "it is a file" if path == obstacle else "Not a directory"
        assert f"cannot create the directory that PROMETHEUS_MULTIPROC_DIR names ({why}): " in line
        assert "Traceback" not in server.log
        assert server.private_directories == []


@each_version
@pytest.mark.parametrize("loading", LOADING)
@pytest.mark.parametrize("setting", ["variable", "raw_env"])
def test_a_relative_one_is_relative_to_chdir(
    version: str, loading: str, setting: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    named = {VARIABLE: "./metrics"} if setting == "variable" else {}
    options = [] if named else [f"--env={VARIABLE}=./metrics"]
    options += [*CONFIGURATION, f"--chdir={home}", *LOADING[loading]]
    with Server(version, tmp_path, *options, environment=named) as server:
        assert_counts_in(home / "metrics", server)
        assert "[WARNING]" not in server.log
    assert not (tmp_path / "metrics").exists()


@each_version
@pytest.mark.parametrize("loading", LOADING)
@pytest.mark.parametrize("variable", [VARIABLE, "prometheus_multiproc_dir"])
def test_raw_env_on_the_command_line(
    version: str, variable: str, loading: str, tmp_path: Path
) -> None:
    metrics = tmp_path / "var" / "metrics"
    options = [*CONFIGURATION, *LOADING[loading], "-e", "OTHER=1", "-e", f"{variable}={metrics}"]
    with Server(version, tmp_path, *options) as server:
        assert_counts_in(metrics, server)
        assert "[WARNING]" not in server.log


@each_version
def test_raw_env_in_the_variable_of_gunicorn(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    options = f"--env={VARIABLE}={metrics} {' '.join(CONFIGURATION)}"
    with Server(version, tmp_path, environment={"GUNICORN_CMD_ARGS": options}) as server:
        assert_counts_in(metrics, server)


@each_version
@pytest.mark.parametrize("imports", IMPORTS)
@pytest.mark.parametrize("order", ["assigns, imports", "imports, assigns"])
@pytest.mark.parametrize("path", ["metrics", "./metrics"], ids=["absolute", "relative"])
def test_raw_env_in_a_configuration_file(
    version: str, path: str, order: str, imports: str, tmp_path: Path
) -> None:
    named = path if path.startswith(".") else str(tmp_path / path)
    lines = [f"raw_env = {[f'{VARIABLE}={named}']}\n", IMPORTS[imports]]
    if order == "imports, assigns":
        lines.reverse()
    (tmp_path / "gunicorn.conf.py").write_text("".join(lines))
    with Server(version, tmp_path) as server:
        assert_counts_in(tmp_path / "metrics", server)


@each_version
@pytest.mark.parametrize("setting", ["variable", "raw_env"])
@pytest.mark.parametrize("path", ["metrics", "./metrics"], ids=["absolute", "relative"])
def test_what_counts_while_the_configuration_is_read(
    version: str, path: str, setting: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    named = path if path.startswith(".") else str(home / path)
    (tmp_path / "gunicorn.conf.py").write_text(
        "from multiprom.gunicorn import *\n"
        "from prometheus_client import Counter\n"
        "Counter('early', 'Counted while the configuration is read.').inc(7)\n"
    )
    options = [f"--chdir={home}", *([f"--env={VARIABLE}={named}"] if setting == "raw_env" else [])]
    environment = {VARIABLE: named} if setting == "variable" else {}
    with Server(version, tmp_path, *options, environment=environment) as server:
        assert server.scrape()["early_total"] == 7
        assert_counts_in(home / "metrics", server)
        assert "[WARNING]" not in server.log
    assert not (tmp_path / "metrics").exists()


@each_version
def test_as_gunicorn_does_the_command_line_wins(version: str, tmp_path: Path) -> None:
    losers = {name: tmp_path / name for name in ("in_file", "in_arguments", "in_environment")}
    setting = f"{VARIABLE}={{}}".format
    (tmp_path / "gunicorn.conf.py").write_text(
        f"raw_env = [{setting(losers['in_file'])!r}]\nfrom multiprom.gunicorn import child_exit\n"
    )
    environment = {
        "GUNICORN_CMD_ARGS": f"--env={setting(losers['in_arguments'])}",
        VARIABLE: str(losers["in_environment"]),
    }
    metrics = tmp_path / "metrics"
    options = [f"--env={setting(metrics)}"]
    with Server(version, tmp_path, *options, environment=environment) as server:
        assert_counts_in(metrics, server)
    # Known when the configuration was read; what else names one was not, or has lost by then.
    made = [path.name for path in losers.values() if path.exists()]
    assert made == ["in_environment"]
    assert not list(losers["in_environment"].glob("*.db"))


@each_version
def test_raw_env_is_kept_by_a_reload(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    options = [*CONFIGURATION, f"--env={VARIABLE}={metrics}"]
    with Server(version, tmp_path, *options, environment=KEEPING_FILES) as server:
        server.send(3)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: len(server.booted) == 2 and server.marked, "replace its worker")
        server.send(2)
        assert server.scrape()["app_requests_total"] == 5
        # Of both workers, and what the master counts.
        (master,) = server.masters
        pids = {int(path.stem.split("_")[1]) for path in metrics.glob("counter_*.db")}
        assert pids == {*server.booted, master}
        assert server.private_directories == []


@each_version
def test_other_variables_in_raw_env_are_no_matter(version: str, tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION, "--env=OTHER=1") as server:
        server.send(3)
        assert server.scrape()["app_requests_total"] == 3
        assert len(server.private_directories) == 1


@each_version
def test_a_configuration_file_may_put_it_into_the_environment(version: str, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    (tmp_path / "gunicorn.conf.py").write_text(
        f"import os\nos.environ[{VARIABLE!r}] = {str(metrics)!r}\n{IMPORTS['child_exit']}"
    )
    with Server(version, tmp_path) as server:
        assert_counts_in(metrics, server)
