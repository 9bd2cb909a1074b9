"""Show multiprom at work: gunicorn, four workers that come and go, and a /metrics that stays right.

`make demo` runs this. Environment variables:

DEMO_PORT     the port on 127.0.0.1 (8000)
DEMO_SECONDS  how long to go on serving when the load is over; until Ctrl-C if unset
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.metadata
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from demo_server import FOLDER, HOST, JITTER, MAX_REQUESTS, WORKERS, DemoError, Server

REQUESTS = 12_000
CLIENTS = 4
# The kinds of file that stay when a worker dies and nobody folds them: counters and histograms.
KINDS_THAT_STAY = 2
# The load is over when so many requests are sent or so many seconds have passed.
LOAD_SECONDS = 30.0
SECONDS_BETWEEN_KILLS = 1.5


class Stop:
    """Whether a signal asked the demo to end.

    A plain flag: the handler runs in the main thread, wherever that is, and an Event that this
    thread is just waiting for would not let it in.
    """

    requested = False

    def __call__(self, *_: object) -> None:
        """Take the signal."""
        self.requested = True


class Load:
    """Clients that ask for pages until enough is sent, and count what becomes of it."""

    def __init__(self, server: Server, stop: Stop) -> None:
        self.sent = 0
        self.answered = 0
        self._server = server
        self._stop = stop
        self._deadline = time.monotonic() + LOAD_SECONDS
        self._lock = threading.Lock()
        self._clients = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for client in self._clients:
            client.start()

    def _run(self) -> None:
        while not self._stop.requested and time.monotonic() < self._deadline:
            with self._lock:
                if self.sent == REQUESTS:
                    return
                self.sent += 1
                page = f"/product/{self.sent % 20}"
            # A worker that is killed takes its connection along.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._server.get(page)
                with self._lock:
                    self.answered += 1

    @property
    def running(self) -> bool:
        """Whether a client is still at work."""
        return any(client.is_alive() for client in self._clients)


def counted(metrics: str) -> int:
    """Return the requests that /metrics has counted, over all pages and workers."""
    values = re.findall(r"^shop_requests_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    return int(sum(map(float, values)))


def kill_one(server: Server, killed: set[int]) -> None:
    """Kill a living worker with SIGKILL, as the kernel does it when memory runs out."""
    living = [pid for pid in server.booted if pid not in server.dead | killed]
    if living:
        victim = random.choice(living)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)


def run_load(server: Server, directory: Path, stop: Stop) -> int:
    """Send the load, kill workers meanwhile, print a line a second; return the exit status."""
    print(
        f"\nEach worker ends after {MAX_REQUESTS} to {MAX_REQUESTS + JITTER} requests; "
        f"every {SECONDS_BETWEEN_KILLS} s one is killed with SIGKILL.\n"
        "GET /metrics queues for a free worker like any other request.\n\n"
        "  time   workers that lived   of these killed   requests answered   counted"
        "   .db files   GET /metrics"
    )
    begin = time.monotonic()
    load = Load(server, stop)
    killed: set[int] = set()
    next_kill = begin + SECONDS_BETWEEN_KILLS
    next_line = begin + 1
    while load.running:
        server.check()
        now = time.monotonic()
        if now >= next_kill:
            kill_one(server, killed)
            next_kill += SECONDS_BETWEEN_KILLS
        if now >= next_line:
            next_line += 1
            # The worker that answers may be the next to be killed.
            with contextlib.suppress(OSError, http.client.HTTPException):
                print_line(server, load, directory, killed, begin)
        time.sleep(0.05)
    if stop.requested:
        return 0
    total = counted(patient_get(server, "/metrics", stop))
    broken = load.sent - load.answered
    right = load.answered <= total <= load.sent
    print(
        f"\n{load.sent:,} requests sent: {load.answered:,} answered, {broken} broken off when "
        f"their worker was killed.\n/metrics has counted {total:,}. "
        + (
            "Exactly those answered."
            if right and total == load.answered
            else "That is right: a killed worker may have counted the request it was at."
            if right
            else f"THAT IS WRONG: it must be from {load.answered:,} to {load.sent:,}."
        )
    )
    print(
        f"{len(server.booted)} workers have lived and {len(server.dead)} have died, "
        f"{len(killed)} of them by SIGKILL; what they counted stays, their live gauges are gone.\n"
        f"Their files are folded into archives: {len(list(directory.glob('*.db')))} files are "
        f"there, where {KINDS_THAT_STAY * len(server.dead):,} more would be."
    )
    return 0 if right else 1


def patient_get(server: Server, path: str, stop: Stop) -> str:
    """Return the body of a page, empty if a signal came first; raises DemoError if there is none.

    gunicorn may still be starting, or be replacing its workers.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        server.check()
        if stop.requested:
            return ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return server.get(path)
        time.sleep(0.1)
    raise DemoError(f"http://{HOST}:{server.port}{path} does not answer")


def print_line(server: Server, load: Load, directory: Path, killed: set[int], begin: float) -> None:
    """Scrape, and print how things stand."""
    # Read first: what is answered is counted, and more may be until the scrape.
    answered = load.answered
    asked = time.monotonic()
    metrics = server.get("/metrics")
    milliseconds = (time.monotonic() - asked) * 1000
    print(
        f"{asked - begin:4.0f} s {len(server.booted):20,} {len(killed):17,} {answered:19,} "
        f"{counted(metrics):9,} {len(list(directory.glob('*.db'))):11,} {milliseconds:11.1f} ms",
        flush=True,
    )


def compare(directory: Path) -> None:
    """Print how long one scrape takes with prometheus_client and with multiprom.

    Both read the same copy: a worker may yet start, and its gauges would come in between.
    """
    files = list(directory.glob("*.db"))
    print(f"\nOne scrape of these {len(files)} files, in a process of its own, to text, median:")
    results = []
    with tempfile.TemporaryDirectory(prefix="multiprom-demo-") as copy:
        for file in files:
            # One that is folded at this moment.
            with contextlib.suppress(FileNotFoundError):
                copied = Path(shutil.copy(file, copy))
                # One that a worker has just made: prometheus_client fails to read an empty file.
                if copied.stat().st_size == 0:
                    copied.unlink()
        for library in ("stock", "multiprom"):
            script = [sys.executable, str(FOLDER / "scrape_time.py"), library, copy]
            # Nobody holds the copies, so they would be folded. In a session of its own, out of
            # reach of Ctrl-C, which is for us to handle.
            run = subprocess.run(
                script,
                env=os.environ | {"MULTIPROM_COMPACTION": "off"},
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
            )
            if run.returncode != 0:
                raise DemoError(f"scrape_time.py {library} failed:\n{run.stderr}")
            results.append(json.loads(run.stdout))
            name, milliseconds = results[-1]["name"], results[-1]["seconds"] * 1000
            print(f"  {name:28} {milliseconds:9.2f} ms   {results[-1]['samples']:,} samples")
    if results[0]["samples"] != results[1]["samples"]:
        print(
            "  The samples that multiprom leaves out are the live gauges: nobody has locked the "
            "copies, so\n  it takes their workers for dead."
        )
    stock, ours = (result["seconds"] for result in results)
    print(f"  multiprom takes 1/{stock / ours:.0f} of the time." if ours < stock else "")


def port_from_environment() -> int:
    """Return the port to serve on; raises DemoError."""
    text = os.environ.get("DEMO_PORT") or "8000"
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise DemoError(f"DEMO_PORT must be a port number from 1 to 65535, not {text!r}")
    port = int(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoError(
                f"cannot serve on {HOST}:{port}: {error.strerror}. "
                f"Another port: DEMO_PORT=8001 make demo"
            ) from None
    return port


def seconds_from_environment() -> float | None:
    """Return how long to serve after the load, None for ever; raises DemoError."""
    text = os.environ.get("DEMO_SECONDS")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:  # nor NaN
        raise DemoError(f"DEMO_SECONDS must be a number of seconds, 0 or more, not {text!r}")
    return seconds


def check_tools() -> None:
    """Raise DemoError if something is missing that `make demo` would have installed."""
    try:
        for module in ("gunicorn", "multiprom"):
            importlib.import_module(module)
    except ImportError as error:
        raise DemoError(f"{error}: run `make demo`, which installs what is needed") from None


@contextlib.contextmanager
def ctrl_c_for_us_alone() -> Iterator[None]:
    """Take the terminal from `make`, which would end with status 130 although we end with 0.

    Nothing happens outside of make, or where there is no terminal to take.
    """
    terminal = 0
    former = None
    with contextlib.suppress(OSError):
        if "MAKELEVEL" in os.environ and os.tcgetpgrp(terminal) == os.getpgrp():
            former = os.getpgrp()
            # A process that is not in the foreground is stopped if it reaches for the terminal;
            # and if Ctrl-Z stopped us, make would not notice, and the shell would wait for make.
            for stopping in (signal.SIGTTOU, signal.SIGTSTP):
                signal.signal(stopping, signal.SIG_IGN)
            os.setpgid(0, 0)
            os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        if former is not None:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, former)


def show(stop: Stop) -> int:
    """Run the whole demo and return its exit status; raises DemoError."""
    check_tools()
    seconds = seconds_from_environment()
    port = port_from_environment()
    url = f"http://{HOST}:{port}/metrics"
    # Private directory, control socket and all: nothing is left when this is removed.
    with tempfile.TemporaryDirectory(prefix="multiprom-demo-") as workspace:
        server = Server(port, Path(workspace))
        try:
            status = 0
            if patient_get(server, "/metrics", stop):
                version = importlib.metadata.version("gunicorn")
                print(f"gunicorn {version} with {WORKERS} workers serves {url}")
                [directory] = Path(workspace).glob("multiprom-*")
                status = run_load(server, directory, stop)
                if not stop.requested:
                    compare(directory)
                    print(f"\nServing {url}", end=" ")
                    print("until Ctrl-C." if seconds is None else f"for {seconds:g} s.", flush=True)
            begin = time.monotonic()
            while not stop.requested and (seconds is None or time.monotonic() < begin + seconds):
                server.check()
                time.sleep(0.05)
        finally:
            server.stop()
    print("gunicorn has ended, and nothing is left behind.")
    return status


def main() -> int:
    """Show the demo; what it cannot go on with becomes a message instead of a traceback."""
    stop = Stop()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, stop)
    try:
        with ctrl_c_for_us_alone():
            return show(stop)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
