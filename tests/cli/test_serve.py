"""`multiprom serve`: the metrics over HTTP, from a process of its own."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from multiprom.cli.scrapes import Application
from support.clients import wsgi
from support.command_line import COMMAND, run
from support.files import counter, write, write_ours
from support.interpreters import environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def serving(
    directory: Path, *options: str, sent: int = signal.SIGTERM
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a directory on a free port; give URL and process, which must end cleanly."""
    process = subprocess.Popen(
        [*COMMAND, "serve", str(directory), "--port", "0", "--json", *options],
        env=environment(MULTIPROM_COMPACTION="on"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        document = json.loads(line)
        assert (document["schema"], document["command"]) == (1, "serve")
        yield document["url"], process
        process.send_signal(sent)
        out, error = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, ""), error
        assert "Traceback" not in error, error
    finally:
        process.kill()
        process.wait()


def ask(
    url: str, path: str = "/metrics", method: str = "GET", context: Any = None
) -> tuple[int, str]:
    place = url.split("/")[2]
    kind: Any = (
        http.client.HTTPSConnection if url.startswith("https") else http.client.HTTPConnection
    )
    connection = kind(place, timeout=10, **({"context": context} if context else {}))
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_metrics(directory: Path, sent: int) -> None:
    write(directory / "counter_1.db", [counter(3)])
    with serving(directory, sent=sent) as (url, _):
        assert url.startswith("http://127.0.0.1:")
        status, text = ask(url)
        assert (status, "requests_total 3.0" in text.splitlines()) == (200, True)
        assert ask(url, "/metrics?name[]=other") == (200, "")
        assert ask(url, "/metrics", "HEAD") == (200, "")
        assert ask(url, "/metrics", "POST")[0] == 405
        assert ask(url, "/")[0] == 200
        assert ask(url, "/favicon.ico")[0] == 404


def test_health(directory: Path) -> None:
    with serving(directory) as (url, _):
        assert ask(url, "/-/healthy") == (200, "ok\n")
        directory.rmdir()
        status, text = ask(url, "/-/healthy")
        assert (status, "No such file or directory" in text) == (503, True)
        assert ask(url)[0] == 503
        directory.mkdir()
        assert ask(url, "/-/healthy")[0] == 200
        assert ask(url) == (200, "")


def test_scrapes_fold_the_dead(directory: Path) -> None:
    write_ours(directory / "counter_1.db", counter(3))
    with serving(directory) as (url, _):
        assert "requests_total 3.0" in ask(url)[1]
    assert not (directory / "counter_1.db").exists()


def test_ready_line_for_people(directory: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", str(directory), "--port", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0
    assert line.startswith(f"serving the metrics of {directory} at http://127.0.0.1:")


def test_a_port_in_use(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run("serve", directory, "--port", str(port), code=3).stderr
    assert said == f"multiprom: cannot serve at 127.0.0.1:{port}: Address already in use\n"
    said = run("serve", directory, "--addr", "no.such.host.invalid", code=3).stderr
    assert "cannot serve at no.such.host.invalid:9464" in said


def test_clients_that_say_nothing_or_nonsense(directory: Path) -> None:
    with serving(directory) as (url, process):
        address = ("127.0.0.1", int(url.split("/")[2].split(":")[1]))
        with socket.create_connection(address), socket.create_connection(address) as other:
            other.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
            assert ask(url)[0] == 200
        assert process.poll() is None


def test_many_connections_at_once(directory: Path) -> None:
    """None is turned away, such as those of 40 scrapes, while the server is busy."""
    with serving(directory) as (url, process), ExitStack() as clients:
        address = ("127.0.0.1", int(url.split("/")[2].split(":")[1]))
        process.send_signal(signal.SIGSTOP)
        try:
            found = [socket.create_connection(address, timeout=1) for _ in range(100)]
        finally:
            process.send_signal(signal.SIGCONT)
        for client in map(clients.enter_context, found):
            client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        for client in found:
            client.settimeout(10)
            assert client.recv(100).startswith(b"HTTP/1.0 200 OK")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, file = str(folder / "key.pem"), str(folder / "certificate.pem")
    openssl = shutil.which("openssl")
    assert openssl is not None, "the test needs openssl"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", file),
        ],
        check=True,
        capture_output=True,
    )
    return file, key


def test_tls(directory: Path, certificate: tuple[str, str]) -> None:
    file, key = certificate
    write(directory / "counter_1.db", [counter(3)])
    context = ssl.create_default_context(cafile=file)
    with serving(directory, "--certfile", file, "--keyfile", key) as (url, _):
        assert url.startswith("https://127.0.0.1:")
        address = ("127.0.0.1", int(url.split("/")[2].split(":")[1]))
        # One that never begins the handshake keeps nobody out.
        with socket.create_connection(address):
            assert "requests_total 3.0" in ask(url, context=context)[1]
        with socket.create_connection(address) as other:
            other.sendall(b"GET / HTTP/1.0\r\n\r\n")
            other.recv(100)
        assert ask(url, context=context)[0] == 200


def test_tls_with_certificates_of_clients(directory: Path, certificate: tuple[str, str]) -> None:
    file, key = certificate
    options = ("--certfile", file, "--keyfile", key, "--client-cafile", file)
    context = ssl.create_default_context(cafile=file)
    with serving(directory, *options, "--client-auth-required") as (url, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(url, context=context)
        context.load_cert_chain(file, key)
        assert ask(url, context=context)[0] == 200


def test_half_of_tls_is_no_tls(directory: Path, certificate: tuple[str, str]) -> None:
    file, key = certificate
    for options in (("--certfile", file), ("--keyfile", key), ("--client-auth-required",)):
        said = run("serve", directory, *options, code=2).stderr
        assert said == "multiprom: TLS needs both --certfile and --keyfile\n"
    said = run("serve", directory, "--certfile", "missing", "--keyfile", key, code=3).stderr
    assert "missing" in said


class Gate:
    """A scrape that waits, and counts how often it was asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error
        self.is_open = threading.Event()

    def __call__(self, _environ: Any, start_response: Any) -> list[bytes]:
        self.calls += 1
        assert self.is_open.wait(30)
        if self.error is not None:
            raise self.error
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"metrics"]


def overlapping(directory: Path, gate: Gate, *headers: dict[str, str]) -> list[str]:
    """Let scrapes with these headers overlap, and give what they got."""
    application = Application(str(directory))
    application._metrics = gate
    found: list[str] = []

    def scrape(more: dict[str, str]) -> None:
        answer = wsgi(application, **more)
        found.append(f"{answer.status} {answer.body.decode()}")

    threads = [threading.Thread(target=scrape, args=(more,)) for more in headers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while application._answering < len(threads) or not gate.calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The last to come may be on its way to the one that is at work.
    time.sleep(0.1)
    gate.is_open.set()
    for thread in threads:
        thread.join()
    application.wait_until_idle(5)
    assert application._answering == 0
    return found


def test_overlapping_scrapes_share_one_result(directory: Path) -> None:
    gate = Gate()
    assert overlapping(directory, gate, *[{}] * 10) == ["200 OK metrics"] * 10
    assert gate.calls == 1


def test_scrapes_of_another_kind_share_nothing(directory: Path) -> None:
    gate = Gate()
    kinds: list[dict[str, str]] = [
        {},
        {"QUERY_STRING": "name[]=a"},
        {"HTTP_ACCEPT_ENCODING": "gzip"},
    ]
    assert overlapping(directory, gate, *kinds) == ["200 OK metrics"] * 3
    assert gate.calls == 3


def test_a_scrape_that_fails_fails_for_all_that_wait_and_not_for_the_next(directory: Path) -> None:
    gate = Gate(PermissionError("no"))
    answers = overlapping(directory, gate, *[{}] * 3)
    assert answers == ["503 Service Unavailable cannot read the metrics: no\n"] * 3
    application = Application(str(directory))
    assert wsgi(application).status == "200 OK"
