"""Scrapes at the limit: forty at once, clients that are gone, and a system that refuses.

Other threads keep running, and no total is too low.

With prometheus_client each scrape holds the interpreter from its first file to its last line, so
that a slow scrape and an impatient Prometheus bring the whole service down.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import sys
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support.files import HEADER, LENGTH, USED, Entry, counter, write
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


PROCESSES = 120
SERIES = 1500
REQUEST = b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def registry(directory: Path) -> CollectorRegistry:
    """A directory big enough that a scrape of it can be told from nothing."""
    entries = [
        Entry("requests", "requests_total", {"path": f"/path/{n}"}, value=1) for n in range(SERIES)
    ]
    first = write(directory / "counter_0.db", entries, size=0)
    for pid in range(1, PROCESSES):
        shutil.copyfile(first, directory / f"counter_{pid}.db")
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    return registry


@pytest.fixture
def port(registry: CollectorRegistry) -> Iterator[int]:
    server, thread = multiprom.start_http_server(0, addr="127.0.0.1", registry=registry)
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def read_all(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(REQUEST)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def go_away(port: int) -> None:
    """Ask, and be gone with a reset before the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(REQUEST)


def say_nothing(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60):
        pass


def at_once(calls: list[Callable[[], object]]) -> list[BaseException]:
    failures: list[BaseException] = []
    together = threading.Barrier(len(calls))

    def call(what: Callable[[], object]) -> None:
        try:
            together.wait()
            what()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=call, args=(what,)) for what in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_all_who_stay_are_answered(port: int) -> None:
    expected = read_all(port).partition(b"\r\n\r\n")[2]
    assert expected.count(b"\n") == SERIES + 2
    answers: list[bytes] = []
    calls: list[Callable[[], object]] = []
    for n in range(40):
        match n % 4:
            case 0:
                calls.append(lambda: go_away(port))
            case 1:
                calls.append(lambda: say_nothing(port))
            case _:
                calls.append(lambda: answers.append(read_all(port).partition(b"\r\n\r\n")[2]))
    assert at_once(calls) == []
    assert answers == [expected] * 20
    # And the server is as good as new.
    assert read_all(port).partition(b"\r\n\r\n")[2] == expected


def test_forty_threads_without_a_server(registry: CollectorRegistry) -> None:
    texts: list[bytes] = []
    calls: list[Callable[[], object]] = [
        lambda: texts.append(multiprom.generate_latest(registry)) for _ in range(40)
    ]
    assert at_once(calls) == []
    assert len(texts) == 40
    assert len(set(texts)) == 1


def longest_gap(scrape: Callable[[], object]) -> tuple[float, float]:
    """Return how long the scrape took, and the longest time that another thread stood still."""
    ticks: list[float] = []
    started, stop = threading.Event(), threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            started.set()
            # Gives up the interpreter, and wants it back at once.
            time.sleep(0)

    ticker = threading.Thread(target=tick)
    ticker.start()
    started.wait()
    begin = time.perf_counter()
    scrape()
    end = time.perf_counter()
    stop.set()
    ticker.join()
    moments = [begin, *[moment for moment in ticks if begin < moment < end], end]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return end - begin, max(gaps)


def test_another_thread_keeps_running(registry: CollectorRegistry) -> None:
    """Who holds the interpreter throughout stops the other thread for the whole scrape, each time.

    The other thread may always be late for reasons of the machine, so the best of some counts.
    """
    multiprom.generate_latest(registry)
    shares = []
    for _ in range(10):
        took, gap = longest_gap(lambda: multiprom.generate_latest(registry))
        shares.append(gap / took)
    assert min(shares) < 0.5


def longest_silence(app: Any) -> float:
    """Return the longest share of an ASGI scrape for which the event loop stood still."""
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        assert message

    async def scrape() -> tuple[float, float]:
        ticker = asyncio.create_task(tick())
        await asyncio.sleep(0.001)
        begin = time.perf_counter()
        await app({"type": "http", "headers": []}, receive, send)
        end = time.perf_counter()
        ticker.cancel()
        return begin, end

    begin, end = asyncio.run(scrape())
    moments = [begin, *[moment for moment in ticks if begin < moment < end], end]
    return max(later - earlier for earlier, later in pairwise(moments)) / (end - begin)


def test_an_event_loop_keeps_running(registry: CollectorRegistry) -> None:
    """A service under asyncio has one thread for all its requests."""
    app = multiprom.make_asgi_app(registry)
    assert min(longest_silence(app) for _ in range(10)) < 0.5


# A corrupt file must not make a scrape take memory without end.

KEY_LENGTH = 16 << 20
KEYS = 60


def test_long_keys_of_zeros(directory: Path) -> None:
    """A sparse file of a gigabyte, in which every entry has another long key that is none."""
    write(directory / "counter_1.db", [counter(1)])
    size = LENGTH.size + KEY_LENGTH + 8 - (LENGTH.size + KEY_LENGTH) % 8 + 16
    with (directory / "counter_2.db").open("wb") as file:
        file.write(USED.pack(HEADER + KEYS * size))
        for number in range(KEYS):
            file.seek(HEADER + number * size)
            file.write(LENGTH.pack(KEY_LENGTH) + b"%d" % number)
        file.truncate(HEADER + KEYS * size)
    printed = run(
        """
        import os, resource, sys
        import multiprom

        collector = multiprom.MultiProcessCollector(None, sys.argv[1])
        # A Python without a GIL has reserved a gigabyte for its own objects.
        with open("/proc/self/statm") as sizes:
            reserved = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = reserved + (1 << 29)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        import logging
        logging.disable()
        (metric,) = collector.collect()
        print(metric.samples[0].value, *[item.entries for item in multiprom.left_out()])
        """,
        directory,
    )
    assert printed.split() == ["1.0", str(KEYS)]


# The system refuses what a scrape needs: it does without, or fails, but gives no lower total.

# So many that several threads read them.
LIVING = 300

SCRAPES = """
import errno, glob, os, resource, sys
import multiprom
from prometheus_client import CollectorRegistry

directory = sys.argv[1]
files = sorted(glob.glob(directory + "/*.db"))
registry = CollectorRegistry()
collector = multiprom.MultiProcessCollector(registry, directory)

def text():
    return float(multiprom.generate_latest(registry).split()[-1])

def value(metrics):
    (metric,) = metrics
    return sum(sample.value for sample in metric.samples)

scrapes = [
    text,
    lambda: value(collector.collect()),
    lambda: value(collector.merge(files)),
    lambda: value(collector._read_metrics(files).values()),
]

def outcome(scrape):
    try:
        return scrape()
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@pytest.fixture
def _many_files(directory: Path) -> None:
    directory.chmod(0o755)
    for pid in range(LIVING):
        write(directory / f"counter_{pid}.db", [counter(1)], size=0).chmod(0o644)


@pytest.mark.usefixtures("_many_files")
def test_no_more_files_can_be_opened(directory: Path) -> None:
    script = """
from support.scripts import take_all_descriptors
print({outcome(scrape) for scrape in scrapes})
held = take_all_descriptors(64)
print({outcome(scrape) for scrape in scrapes})
# One is enough for one thread, but not for several.
os.close(held.pop())
print({outcome(scrape) for scrape in scrapes * 10} - {300.0, "EMFILE"})
os.close(held.pop())
os.close(held.pop())
os.close(held.pop())
print({outcome(scrape) for scrape in scrapes})
print(multiprom.left_out())
"""
    assert run(SCRAPES + script, directory).splitlines() == [
        "{300.0}",
        "{'EMFILE'}",
        "set()",
        "{300.0}",
        "()",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads are not counted")
@pytest.mark.usefixtures("_many_files")
def test_no_more_threads_can_be_started(directory: Path) -> None:
    script = """
import threading
from support.scripts import become_nobody
# Imported now: as somebody else we may not read the modules.
multiprom.generate_latest(registry)
# For the same reason from within.
os.chdir(directory)
# There is no such limit for root.
become_nobody()
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(error)
collector._path = "."
files = [os.path.basename(file) for file in files]
print({outcome(scrape) for scrape in scrapes}, multiprom.left_out())
"""
    assert run(SCRAPES + script, directory).splitlines() == ["can't start new thread", "{300.0} ()"]
