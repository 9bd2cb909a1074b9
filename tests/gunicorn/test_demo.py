"""The demo says in a line what it lacks, and ends well when it is asked to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.gunicorn_server import ROOT, python_environment


def start(folder: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo" / "run.py")],
        env={**python_environment("newest", folder), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("name", ["DEMO_SECONDS", "DEMO_PORT"])
@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan", "99999999999999999999e999"])
def test_a_bad_value_is_a_clear_message(name: str, value: str, tmp_path: Path) -> None:
    with start(tmp_path, **{name: value}) as demo:
        out, err = demo.communicate(timeout=30)
    assert (demo.returncode, out) == (1, "")
    assert err.startswith(f"demo: {name} must be ")
    assert repr(value) in err
    assert len(err.splitlines()) == 1


def test_a_port_in_use_is_a_clear_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with start(tmp_path, DEMO_PORT=port) as demo:
            out, err = demo.communicate(timeout=30)
    assert (demo.returncode, out) == (1, "")
    assert err.startswith(f"demo: cannot serve on 127.0.0.1:{port}: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("missing", ["gunicorn", "multiprom._core"])
def test_a_missing_tool_is_a_clear_message(missing: str, tmp_path: Path) -> None:
    # Python runs it at the start, before the demo looks for its tools.
    hiding = f"""
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name == "{missing}":
            raise ModuleNotFoundError("No module named '{missing}'", name=name)

sys.meta_path.insert(0, Hiding())
"""
    (tmp_path / "sitecustomize.py").write_text(hiding)
    paths = os.pathsep.join([str(tmp_path), python_environment("newest", tmp_path)["PYTHONPATH"]])
    with start(tmp_path, PYTHONPATH=paths) as demo:
        out, err = demo.communicate(timeout=30)
    assert (demo.returncode, out) == (1, "")
    assert err.startswith("demo: ")
    assert "run `make demo`" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
@pytest.mark.parametrize("moment", ["at the start", "under load"])
def test_a_signal_ends_it_with_status_0(sent: signal.Signals, moment: str, tmp_path: Path) -> None:
    port = free_port()
    with start(tmp_path, DEMO_PORT=port, PYTHONUNBUFFERED="1") as demo:
        try:
            assert demo.stdout is not None
            if moment == "under load":
                while "GET /metrics" not in demo.stdout.readline():
                    assert demo.poll() is None
                time.sleep(0.5)
            else:
                while not list((tmp_path / "tmp").iterdir()):
                    assert demo.poll() is None
                    time.sleep(0.01)
            demo.send_signal(sent)
            out, err = demo.communicate(timeout=40)
        finally:
            demo.kill()
    assert (demo.returncode, err) == (0, "")
    assert out.endswith("nothing is left behind.\n")
    assert list((tmp_path / "tmp").iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0, "something still listens"
