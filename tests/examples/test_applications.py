"""The commands of examples/README.md, run: requests are answered, a worker is killed, sums hold."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.commands import children, environment, eventually, free_port, get, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "examples" / "README.md").read_text()
# The commands of the sections, by the folder that they change to.
COMMANDS = {
    name: commands
    for commands, name in re.findall(r"```sh\n(cd examples/(\w+)\n.*?)```", README, re.DOTALL)
}
REQUESTS = 60


@contextmanager
def running(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the commands of an example but for `pip install`; give its port and its process."""
    port = free_port()
    script = re.sub(r"^pip install .*\n", "", COMMANDS[name], flags=re.MULTILINE)
    script = script.replace("cd examples", f"cd {ROOT}/examples")
    script = script.replace("8000", str(port)).replace("/tmp/shop", f"{folder}/shop")
    variables = {
        "PORT": str(port),
        "QUEUE": str(folder / "queue"),
        # For the example whose configuration file has the port.
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
    }
    with serving(script, folder, **variables) as (pid, _):
        yield port, pid


def test_every_example_has_its_commands() -> None:
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert folders - {"demo", "docker", "kubernetes", "monitoring"} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"celery"}))
def test_server(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as (port, pid):
        eventually(port, "/", "hello")
        for _ in range(REQUESTS - 1):
            assert get(port, "/") == "hello\n"
        eventually(port, "/metrics", f"shop_requests_total {REQUESTS}.0")
        # The last child: uvicorn's first one tracks resources and serves nobody.
        os.kill(children(pid)[-1], signal.SIGKILL)
        eventually(port, "/", "hello")
        eventually(port, "/metrics", f"shop_requests_total {REQUESTS + 1}.0")


def test_celery(tmp_path: Path) -> None:
    with running("celery", tmp_path) as (port, _):
        subprocess.run(
            [sys.executable, "send.py", str(REQUESTS)],
            cwd=ROOT / "examples" / "celery",
            env=environment(tmp_path, QUEUE=str(tmp_path / "queue")),
            check=True,
        )
        # The pool replaces each process after 20 tasks.
        eventually(port, "/metrics", f"shop_mails_total {REQUESTS}.0")
