"""The commands of examples/README.md, run: requests are answered, a worker is killed, sums hold."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "examples" / "README.md").read_text()
# The commands of the sections, by the folder that they change to.
COMMANDS = {
    match[1]: match[0]
    for match in re.findall(r"```sh\n(cd examples/(\w+)\n.*?)```", README, re.DOTALL)
}
REQUESTS = 60
SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        body: bytes = response.read()
        return body.decode()


def eventually(port: int, path: str, expected: str) -> str:
    """Ask until the answer has a line that is expected."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            answer = get(port, path)
        except (urllib.error.URLError, ConnectionError) as error:
            answer = str(error)
        if expected in answer.splitlines():
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{path} never had {expected!r}:\n{answer}")
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that these started."""
    direct = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return direct + [grandchild for child in direct for grandchild in children(child)]


@contextmanager
def running(name: str, folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Run the commands of an example; give its port, its process and its log."""
    port = free_port()
    lines = [line for line in COMMANDS[name].splitlines() if not line.startswith("pip install")]
    # `exec`, so that the server is our child, and no shell between us gets the signals.
    lines[-1] = re.sub(r"((?:\w+=\S+ )*)(.*)", r"\1exec \2", lines[-1], count=1)
    script = "\n".join(lines).replace("8000", str(port)).replace("/tmp/shop", f"{folder}/shop")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PORT": str(port),
        "QUEUE": str(folder / "queue"),
        "TMPDIR": str(folder),
        # For the example whose configuration file has the port.
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["sh", "-euc", script],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield port, server.pid, log
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def test_every_example_has_its_commands() -> None:
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert folders - {"demo", "docker", "kubernetes"} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"celery"}))
def test_server(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as (port, pid, log):
        eventually(port, "/", "hello")
        for _ in range(REQUESTS - 1):
            assert get(port, "/") == "hello\n"
        eventually(port, "/metrics", f"shop_requests_total {REQUESTS}.0")
        # uvicorn's first child tracks resources and serves nobody.
        os.kill(children(pid)[-1], signal.SIGKILL)
        eventually(port, "/", "hello")
        eventually(port, "/metrics", f"shop_requests_total {REQUESTS + 1}.0")
    assert "Traceback" not in log.read_text()


def test_celery(tmp_path: Path) -> None:
    with running("celery", tmp_path) as (port, _, log):
        subprocess.run(
            [sys.executable, "send.py", str(REQUESTS)],
            cwd=ROOT / "examples" / "celery",
            env={**os.environ, "QUEUE": str(tmp_path / "queue"), "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
        )
        # The pool replaces each process after 20 tasks.
        eventually(port, "/metrics", f"shop_mails_total {REQUESTS}.0")
    assert "Traceback" not in log.read_text()
