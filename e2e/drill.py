"""The drill that every service goes through: load, recycling, kills, and what must hold then."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service import Case, Service, total
from support.pages import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 5.0
SECONDS_BETWEEN_ACTIONS = 0.7
CLIENTS = 3


@dataclass(frozen=True)
class Outcome:
    """What a drill has seen, for the table."""

    sent: int
    answered: int
    counted: int
    deaths: int


class Load:
    """Clients that send requests, and one that scrapes, until told to stop."""

    def __init__(self, service: Service) -> None:
        self.sent = self.answered = 0
        self.faults: list[str] = []
        self.pids: dict[int, float] = {}
        """When each process last answered."""
        self.base = self.histogram_base = 0.0
        """What was counted before the requests that are held against the counter."""
        self.uncounted = 0
        """How many requests may have been answered and not counted."""
        self._service = service
        self._stop = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._lock = threading.Lock()
        self._on_their_way = 0
        self._highest = 0.0

    def run(self, seconds: float) -> None:
        """Send requests for so long, do what the case says meanwhile, and wait for the answers."""
        threads = [threading.Thread(target=self._send_on) for _ in range(CLIENTS)]
        threads.append(threading.Thread(target=self._scrape_on))
        for thread in threads:
            thread.start()
        try:
            self._act(seconds)
        finally:
            self._running.set()
            self._stop.set()
            for thread in threads:
                thread.join()

    def _act(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        actions = self._service.case.actions
        turns = itertools.cycle(actions) if actions else itertools.repeat(None)
        for turn in turns:
            time.sleep(SECONDS_BETWEEN_ACTIONS)
            if time.monotonic() > deadline:
                return
            if turn is not None:
                turn(self._service, self)

    def ask(self, path: str = "/") -> int | None:
        """Send one request; return who answered, or None if it was broken off."""
        with self._lock:
            self.sent += 1
            self._on_their_way += 1
        pid = None
        try:
            # A worker may be killed at work, or recycled with a connection that it has not read.
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, body = self._service.get(path)
                if status == 200:
                    pid = int(body)
        finally:
            with self._lock:
                self._on_their_way -= 1
                if pid is not None:
                    self.answered += 1
                    self.pids[pid] = time.monotonic()
        return pid

    def _send_on(self) -> None:
        while not self._stop.is_set():
            self._running.wait()
            if self.ask() is None:
                # While nobody listens, there is nothing to be learned from asking at once again.
                time.sleep(0.02)

    def _scrape_on(self) -> None:
        while not self._stop.is_set():
            self._running.wait()
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._scrape()
            time.sleep(0.1)

    def _scrape(self) -> None:
        with self._lock:
            self._on_their_way += 1
        try:
            status, text = self._service.get("/metrics")
            if status != 200:
                self.faults.append(f"/metrics answered {status}: {text[:500]}")
                return
            seen = total(samples(text), self._service.case.counter)
            if seen < self._highest:
                self.faults.append(f"the total fell from {self._highest} to {seen}")
            self._highest = seen
        finally:
            with self._lock:
                self._on_their_way -= 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Send nothing meanwhile."""
        self._running.clear()
        deadline = time.monotonic() + 20
        while self._on_their_way and time.monotonic() < deadline:
            time.sleep(0.01)
        yield
        self._running.set()

    def begin_anew(self) -> None:
        """Hold only what is sent from now on against the counter: the service has just started."""
        found = self._service.scrape()
        self.base = self._highest = total(found, self._service.case.counter)
        self.histogram_base = total(found, self._service.case.histogram)
        self.sent = self.answered = 0

    def recent(self) -> list[int]:
        """Return the living processes that have answered within the last second, oldest last."""
        living = self._service.living() - {self._service.master}
        now = time.monotonic()
        return [pid for pid, when in self.pids.copy().items() if pid in living and now - when < 1]

    def settle(self) -> set[int]:
        """Send requests until as many processes as there are workers answer; return them."""
        found: set[int] = set()

        def enough() -> bool:
            with ThreadPoolExecutor(2 * self._service.case.workers) as pool:
                found.clear()
                found.update(pid for pid in pool.map(self.ask, ["/slow"] * 8) if pid is not None)
            return len(found) >= self._service.case.workers

        self._service.until(enough, f"answer with {self._service.case.workers} workers")
        return found


def kill(service: Service, load: Load) -> None:
    """Kill a worker at work."""
    for victim in load.recent()[:1]:
        load.uncounted += service.case.counts_late
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def drill(case: Case, folder: Path, redis: str = "") -> Outcome:
    """Run the service through the drill, and assert all that must hold."""
    with Service(case, folder, redis) as service:
        load = Load(service)
        load.begin_anew()
        load.run(SECONDS)
        answering = load.settle()
        counted = assert_counts(service, load)
        sent, answered = load.sent, load.answered
        if case.live:
            assert_living(service, answering)
        if case.can_kill:
            assert_killed_at_rest(service, answering, counted)
            # Some servers lose a signal to a worker that is booting.
            load.settle()
        assert not load.faults, load.faults
        assert_files_are_few(service)
        deaths = len(load.pids.keys() - service.living())
        service.end()
    return Outcome(sent, answered, int(counted - load.base), deaths)


def assert_counts(service: Service, load: Load) -> float:
    """Hold the counter and the histogram against the requests; return the counter."""
    if service.case.counts_late:
        time.sleep(0.2)
    found = service.scrape()
    counter = total(found, service.case.counter)
    histogram = total(found, service.case.histogram)
    counted, observed = counter - load.base, histogram - load.histogram_base
    broken_off = load.sent - load.answered + load.uncounted
    least = load.answered - load.uncounted
    assert load.answered > 20, service.log
    assert least <= counted <= load.sent, (counted, load.answered, load.sent)
    assert least <= observed <= load.sent, (observed, load.answered, load.sent)
    assert abs(counted - observed) <= broken_off, (counted, observed, broken_off)
    return counter


def live_pids(service: Service) -> set[int]:
    """Return the processes of which a scrape shows a live gauge."""
    pattern = re.compile(rf'{service.case.live}\{{.*pid="(\d+)".*\}}')
    matches = map(pattern.fullmatch, service.scrape())
    return {int(match[1]) for match in matches if match}


def assert_living(service: Service, answering: set[int]) -> None:
    """Hold the live gauges against the processes that live."""
    before = service.living()
    shown = live_pids(service)
    after = service.living()
    assert shown <= before | after, "a gauge of a process that does not live"
    assert answering & before & after <= shown, "no gauge of a process that lives"


def assert_killed_at_rest(service: Service, answering: set[int], counted: float) -> None:
    """Kill a worker that has nothing to do: the next scrape has all that it counted but its gauge.

    Only if the service is at rest can the next scrape be held to the last.
    """
    victim = min(answering & service.living())
    os.kill(victim, signal.SIGKILL)
    service.until(lambda: victim not in service.living(), "lose the killed worker")
    found = service.scrape()
    assert total(found, service.case.counter) == counted
    if service.case.live:
        assert victim not in live_pids(service), "a gauge of the killed worker"


def assert_files_are_few(service: Service) -> None:
    """Wait until the files are those of the living, with one archive for each kind."""

    def few() -> bool:
        service.scrape()
        files = [path.stem for path in service.directory.glob("*.db")]
        kinds = {re.sub(r"_(?:compacted|\d+(?:-\d+)?)$", "", name) for name in files}
        return len(files) <= len(kinds) * (len(service.living()) + 1)

    service.until(few, f"fold {sorted(service.directory.iterdir())}", seconds=20)
