"""A port of its own: MULTIPROM_METRICS_ADDR serves the metrics beside a server.

The process that does it is a child of gunicorn's master, which waits for children that it does not
know, and takes some exit codes of theirs for those of workers (gunicorn 23).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import time
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from multiprom.cli import port as metrics_port
from support.commands import children, free_port, get
from support.folders import let_others_reach
from support.gunicorn_server import CONFIGURATION, Server, each_version
from support.pages import samples
from support.users import USER

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "from multiprom.cli import port"


class Scraped(Server):
    """A server with a port for its metrics."""

    def __init__(self, version: str, folder: Path, *options: str, address: str = "") -> None:
        self.metrics_port = free_port()
        address = address or f"127.0.0.1:{self.metrics_port}"
        environment = {"MULTIPROM_METRICS_ADDR": address}
        super().__init__(version, folder, *CONFIGURATION, *options, environment=environment)

    @property
    def serving(self) -> list[int]:
        """The processes beside the workers, the one that the master has started first."""
        return [pid for pid in children(self.process.pid) if PROGRAM in command_line(pid)]

    @property
    def metrics(self) -> dict[str, float]:
        """The samples at the port; none if nobody listens there."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return samples(get(self.metrics_port, "/metrics"))
        return {}

    def until_served(self) -> dict[str, float]:
        """Wait until the port has the metrics of all requests, and return them."""
        self.until(lambda: self.metrics.get("app_requests_total") == self.sent, "serve its metrics")
        return self.metrics

    def until_ended(self, pids: list[int]) -> None:
        """Wait until these processes are gone, and nobody listens at the port."""
        self.until(lambda: not any(map(lives, pids)), "end the processes that served")
        assert self.metrics == {}


def command_line(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def lives(pid: int) -> bool:
    """Say whether a process lives, a zombie included."""
    return Path(f"/proc/{pid}").exists()


def sockets(pid: int) -> set[str]:
    """Return the sockets that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return {target for target in found if target.startswith("socket:")}


@each_version
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])
def test_the_metrics_at_a_port(version: str, options: tuple[str, ...], tmp_path: Path) -> None:
    with Scraped(version, tmp_path, "--workers=2", *options) as server:
        server.send_until_answered_by(2)
        found = server.until_served()
        assert found["app_alive"] == 2
        assert found['multiprom_processes{role="worker"}'] == 2
        assert found["gunicorn_workers_spawned_total"] == 2
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        assert server.log.count(f"[INFO] serving the metrics at {url}\n") == 1
        pids = server.serving
        parent, child = map(sockets, pids)
        assert (parent, bool(child)) == (set(), True)
        assert not child & sockets(server.process.pid), "the server's port is free when it ends"
        assert server.stop() == 0
        assert not any(map(lives, pids)), "the master waits for them"
        server.until_ended(pids)
        assert "Traceback" not in server.log
        assert "[WARNING]" not in server.log
        assert "[ERROR]" not in server.log


@each_version
def test_connections_that_wait_are_seen_at_the_port(version: str, tmp_path: Path) -> None:
    with Scraped(version, tmp_path, "--workers=1") as server:
        (worker,) = server.send_until_answered_by(1)
        server.until_served()
        os.kill(worker, signal.SIGSTOP)
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", server.log)
        assert found is not None
        address = ("127.0.0.1", int(found[1]))
        sample = f'gunicorn_backlog_connections{{listener="127.0.0.1:{found[1]}"}}'
        assert server.metrics[sample] == 0
        with socket.create_connection(address), socket.create_connection(address):
            server.until(lambda: server.metrics[sample] == 2, "show them")
        os.kill(worker, signal.SIGCONT)


@each_version
def test_it_lives_as_long_as_the_master(version: str, tmp_path: Path) -> None:
    """Those who are killed are replaced, and nobody stays behind a master that is killed."""
    with Scraped(version, tmp_path, "--workers=1") as server:
        server.send_until_answered_by(1)
        server.until_served()
        parent, child = server.serving
        os.kill(child, signal.SIGKILL)
        server.until(lambda: not lives(child) and len(server.serving) == 2, "replace the process")
        server.until_served()
        assert "the process that serves the metrics has ended (signal 9)" in server.log

        parent, child = server.serving
        os.kill(parent, signal.SIGKILL)
        server.until(lambda: not (lives(parent) or lives(child)), "notice that its child is dead")
        os.kill(server.booted[0], signal.SIGKILL)
        server.until(lambda: len(server.marked) == 1, "replace its worker")
        server.until(lambda: len(server.serving) == 2, "have another one")
        server.until_served()

        pids = server.serving
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: len(server.marked) == 2, "replace its worker")
        server.until_served()
        assert server.serving == pids, "a reload leaves them alone"

        server.process.kill()
        server.process.wait()
        server.until_ended(pids)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Scraped]:
    """Return a server with one worker, whose metrics are served."""
    with Scraped("newest", tmp_path, "--workers=1") as server:
        server.send_until_answered_by(1)
        server.until_served()
        yield server


def test_signals_for_the_master_and_its_workers(served: Scraped) -> None:
    """They may be sent to all processes, such as by Ctrl-C or `systemctl kill`."""
    pids = served.serving
    for sent in ("HUP", "INT", "TTIN", "TTOU", "USR1", "USR2"):
        for pid in pids:
            os.kill(pid, signal.Signals[f"SIG{sent}"])
    time.sleep(0.6)
    assert served.serving == pids
    served.until_served()
    assert served.stop() == 0
    served.until_ended(pids)
    assert "Traceback" not in served.log


def test_a_worker_with_the_pid_of_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn has waited for the one that was killed, so its pid is free."""
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(1)
    try:
        monkeypatch.setattr(metrics_port._Started, "pid", worker)
        monkeypatch.setattr(metrics_port._Started, "master", os.getpid())
        metrics_port.keep(SimpleNamespace(env={"MULTIPROM_METRICS_ADDR": ""}))
        assert os.waitpid(worker, os.WNOHANG) == (0, 0), "it was taken for the other"
    finally:
        os.kill(worker, signal.SIGKILL)
    assert os.waitpid(worker, 0)[0] == worker, "gunicorn is to learn of its end"


def test_no_process_can_be_forked_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the memory of a container is used up, which may have ended the one that served."""
    refused = [BlockingIOError(errno.EAGAIN, "try again"), OSError(errno.ENOMEM, "no memory")]
    pauses: list[float] = []
    # At last the test ends what would go on for ever.
    monkeypatch.setattr(os, "fork", mock.Mock(side_effect=[*refused, SystemExit]))
    monkeypatch.setattr(metrics_port, "_sleep", lambda seconds, _: pauses.append(seconds))
    with pytest.raises(SystemExit):
        metrics_port._watch("127.0.0.1:0", os.getppid())
    assert pauses == [1, 2]
    assert caplog.messages == [
        "no process serves the metrics ([Errno 11] try again): another attempt in 1 s",
        "no process serves the metrics ([Errno 12] no memory): another attempt in 2 s",
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_those_who_are_stopped_end_with_the_master(place: int, served: Scraped) -> None:
    pids = served.serving
    os.kill(pids[place], signal.SIGSTOP)
    assert served.stop() == 0
    served.until_ended(pids)


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_is_stopped_ends_after_a_master_that_was_killed(
    place: int, served: Scraped
) -> None:
    pids = served.serving
    os.kill(pids[place], signal.SIGSTOP)
    status = Path(f"/proc/{pids[place]}/status")
    served.until(lambda: "\nState:\tT" in status.read_text(), "be stopped")
    served.process.kill()
    served.process.wait()
    served.until_ended(pids)


@each_version
def test_an_upgrade_hands_the_port_on(version: str, tmp_path: Path) -> None:
    with Scraped(version, tmp_path, "--workers=1") as server:
        server.send_until_answered_by(1)
        server.until_served()
        old = server.serving
        server.process.send_signal(signal.SIGUSR2)
        server.until(lambda: len(server.booted) == 2, "start a new master")
        server.until(lambda: "trying again every second" in server.log, "want the port, too")
        server.send_until_answered_by(2)
        assert server.until_served()["app_alive"] == 2

        assert server.stop() == 0
        start = time.monotonic()
        server.until(lambda: server.metrics, "hand the port on")
        assert time.monotonic() - start < 5, "a scrape interval is longer"
        server.send_until_answered_by(1)
        assert server.until_served()["app_alive"] == 1
        assert not any(map(lives, old))
        assert "[WARNING]" not in server.log
        assert "[ERROR]" not in server.log
        new = children(server.masters[1])
        os.kill(server.masters[1], signal.SIGTERM)
        server.until_ended(new)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Return a socket that listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_a_port_in_use_is_taken_when_it_is_free(taken: socket.socket, tmp_path: Path) -> None:
    port = taken.getsockname()[1]
    with Scraped("newest", tmp_path, "--workers=1", address=f"127.0.0.1:{port}") as server:
        refused = (
            f"cannot serve at 127.0.0.1:{port}: Address already in use; trying again every second"
        )
        server.until(lambda: refused in server.log, "say that the port is in use")
        server.send_until_answered_by(1)
        time.sleep(1.5)
        assert server.log.count(refused) == 1
        taken.close()
        server.metrics_port = port
        server.until_served()
        assert f"serving the metrics at http://127.0.0.1:{port}/metrics" in server.log
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (
            "9464",
            "MULTIPROM_METRICS_ADDR is '9464', which is not HOST:PORT, such as 127.0.0.1:9464",
        ),
        ("no.such.host.invalid:9464", "cannot serve at no.such.host.invalid:9464: "),
    ],
)
def test_a_wrong_address_is_one_line(address: str, reason: str, tmp_path: Path) -> None:
    with Scraped("newest", tmp_path, "--workers=1", address=address) as server:
        server.until(lambda: reason in server.log, "say what is wrong")
        server.send_until_answered_by(1)
        assert server.scrape()["app_requests_total"] == server.sent
        os.kill(server.booted[0], signal.SIGKILL)
        server.until(lambda: len(server.marked) == 1, "replace its worker")
        server.send_until_answered_by(1)
        assert server.log.count("[WARNING]") == 1
        assert "Traceback" not in server.log
        assert server.stop() == 0


def test_workers_of_another_user(tmp_path: Path) -> None:
    """Whoever serves has the rights of the workers, and reads and folds what they count."""
    folder = let_others_reach(tmp_path)
    with Scraped("newest", folder, "--workers=2", f"--user={USER}") as server:
        victim = min(server.send_until_answered_by(2))
        server.until_served()
        owners = {Path(f"/proc/{pid}").owner() for pid in server.serving}
        assert owners == {USER}
        os.kill(victim, signal.SIGKILL)
        server.until(lambda: victim in server.marked, "notice the death")
        server.until_served()
        assert server.stop() == 0
        assert "[WARNING]" not in server.log


def loopback() -> str:
    """Return this host's own address: that of IPv6, unless the container has none."""
    with socket.socket(socket.AF_INET6) as probe, contextlib.suppress(OSError):
        probe.bind(("::1", 0))
        return "[::1]"
    return "127.0.0.1"


def test_settings_of_the_server(tmp_path: Path) -> None:
    """Its error log, also after it was moved away, and its variables."""
    log, metrics = tmp_path / "error.log", tmp_path / "var" / "metrics"
    host, port = loopback(), free_port()
    options = [f"--error-log={log}", f"--env=PROMETHEUS_MULTIPROC_DIR={metrics}"]
    options += [f"--env=MULTIPROM_METRICS_ADDR={host}:{port}", "--env=MULTIPROM_WORKER_METRICS=0"]
    server = Server("newest", tmp_path, *CONFIGURATION, "--workers=1", *options)
    server.launch()
    try:
        url = f"[INFO] serving the metrics at http://{host}:{port}/metrics"
        server.until(lambda: log.exists() and url in log.read_text(), "serve its metrics")
        with socket.create_connection((host.strip("[]"), port)) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            page = client.makefile().read()
        assert "multiprom_processes" not in page
        log.rename(tmp_path / "old.log")
        pids = [pid for pid in children(server.process.pid) if PROGRAM in command_line(pid)]
        os.kill(pids[1], signal.SIGKILL)
        server.until(lambda: log.exists() and url in log.read_text(), "write a new log")
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("0.0.0.0", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("metrics.example:0", ("metrics.example", 0)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    assert metrics_port.parse(address) == expected


@pytest.mark.parametrize(
    "address",
    ["9464", "a:", "a:b", "::1:9464", "[::1]", "a:65536", "http://a:1", "a:-1", "a:٣", ""],
)
def test_no_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="MULTIPROM_METRICS_ADDR"):
        metrics_port.parse(address)
