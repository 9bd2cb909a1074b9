"""A service of several processes that is started by a command, asked, and ended."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import os
import platform
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from support.commands import free_port
from support.gunicorn_server import python_environment
from support.pages import samples
from support.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drill import Load

E2E = Path(__file__).resolve().parent
ROOT = E2E.parent

# What a server says of a worker that was killed, and of nobody else.
_MULTIPROM_COMPLAINS = re.compile(
    r".*(?:multiprom.*(?:warning|error|critical)|(?:warning|error|critical).*multiprom"
    r"|could not (?:mark|fold|write|read)).*",
    re.IGNORECASE,
)

Action: TypeAlias = "Callable[[Service, Load], None]"


@dataclass(frozen=True)
class Case:
    """A way to run a service: one line of the table."""

    name: str
    command: Sequence[str]
    """The words to start it; names in braces are replaced, such as `{port}`."""
    package: str
    """The distribution whose version the table shows."""
    does: str
    """What is done to it besides load, for the table."""
    actions: Sequence[Action] = ()
    """What is done to it under load, in turn."""
    workers: int = 2
    can_kill: bool = True
    """Whether the service goes on after a worker was killed."""
    quick: bool = False
    gunicorn: str = "newest"
    counter: str = "app_requests_total"
    histogram: str = "app_seconds_count"
    live: str = "app_worker"
    """The live gauge with one series for each process; empty if the service has none."""
    counts_late: bool = False
    """Whether it counts when it has answered, so that a kill can come between."""
    variables: Mapping[str, str] = field(default_factory=dict)
    named: bool = True
    """Whether PROMETHEUS_MULTIPROC_DIR is set for it."""
    files: str = ""
    """Where its metrics files are, if it makes a directory of its own."""
    ends: Sequence[int] = (0, -signal.SIGTERM)
    noise: str = ""
    """A regular expression for what the server itself logs when its workers are killed."""

    @property
    def version(self) -> str:
        """The version of the package that runs."""
        if self.package == "python":
            return f"Python {platform.python_version()}"
        if self.package == "prometheus_client":
            return f"prometheus_client {importlib.metadata.version(self.package)}"
        if self.package == "mlflow":
            return next((ROOT / "build" / "mlflow").glob("mlflow-*.dist-info")).name[7:-10]
        old = self.package == "gunicorn" and self.gunicorn == "23"
        return "23.0.0" if old else importlib.metadata.version(self.package)


class Service(Program):
    """One service in a folder of its own; a context manager that leaves no process behind."""

    def __init__(self, case: Case, folder: Path, redis: str = "") -> None:
        self.case = case
        self.port = free_port()
        self.metrics_port = self.port
        words = {"python": sys.executable, "bin": str(Path(sys.executable).parent)}
        words |= {"root": str(ROOT), "folder": str(folder), "port": str(self.port), "redis": redis}
        if any("{metrics}" in word for word in (*case.command, *case.variables.values())):
            self.metrics_port = free_port()
        words["metrics"] = str(self.metrics_port)
        environment = python_environment(case.gunicorn, folder)
        environment["PYTHONPATH"] += f":{E2E / 'apps'}"
        environment["PATH"] = f"{words['bin']}:{environment['PATH']}"
        if case.named:
            directory = folder / "metrics"
            directory.mkdir()
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        environment |= {name: value.format(**words) for name, value in case.variables.items()}
        command = [word.format(**words) for word in case.command]
        super().__init__(folder, "service.log", command, environment)
        self.master = 0
        """The process that is told to end."""

    def wait_until_ready(self) -> None:
        """Wait until the service answers."""
        self.master = self.process.pid
        self.until(self._answers, "answer", seconds=40)

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the service has ended:\n{self.log}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/metrics")[0] == 200 == self.get("/")[0]
        return False

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page, asked for over a connection of its own."""
        port = self.metrics_port if path == "/metrics" else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def scrape(self) -> dict[str, float]:
        """Return the samples of the page, by name and labels; a worker may be dying just now."""
        for _ in range(50):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, text = self.get("/metrics")
                assert status == 200, text
                return samples(text)
            time.sleep(0.1)
        raise AssertionError(f"no scrape was answered:\n{self.log}")

    @property
    def directory(self) -> Path:
        """The directory of the metrics files."""
        pattern = self.case.files or ("metrics" if self.case.named else "tmp/multiprom-*")
        (found,) = self.folder.glob(pattern)
        return found

    def living(self, started: int | None = None) -> set[int]:
        """Return the processes that live of the service, as it was started last, or by this pid."""
        leader = str(started or self.process.pid)
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            # The first thread of a process may have ended before others, which hold its files open.
            with contextlib.suppress(OSError):
                for thread in (process / "task").iterdir():
                    # The state and the session, behind a name that may have spaces.
                    stat = (thread / "stat").read_text().rpartition(") ")[2]
                    state, _, _, session, *_ = stat.split()
                    if session == leader and state not in "ZX":
                        found.add(int(process.name))
        return found

    def end(self) -> None:
        """End the service as an operator does; it must leave in order, and nothing behind."""
        os.kill(self.master, signal.SIGTERM)
        self.until(lambda: self.master not in self.living(), "end", seconds=40)
        self.until(lambda: not self.living(), "end its workers", seconds=40)
        if self.master == self.process.pid:
            assert self.process.wait(timeout=10) in self.case.ends, self.log
        if not self.case.named:
            assert not list((self.folder / "tmp").glob("multiprom-*")), "a private directory stays"
        self.assert_log_is_clean()

    def assert_log_is_clean(self) -> None:
        """Find no traceback, and no complaint of multiprom's."""
        log = re.sub(self.case.noise, "", self.log) if self.case.noise else self.log
        # Without pytest's own comparison, which takes minutes for a long log.
        raised = log.count("Traceback (most recent call last)")
        assert raised == 0, log
        complaints = _MULTIPROM_COMPLAINS.findall(log)
        assert not complaints, complaints

    def kill(self) -> None:
        """End every process of the service at once."""
        for leader in self._groups:
            for pid in self.living(leader):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        super().kill()


def total(found: Mapping[str, float], name: str) -> float:
    """Return the sum of the samples whose name and labels the regular expression matches."""
    pattern = re.compile(rf"(?:{name})(?:\{{.*\}})?")
    return sum(value for sample, value in found.items() if pattern.fullmatch(sample))
