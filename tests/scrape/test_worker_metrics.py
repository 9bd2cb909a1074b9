"""Metrics of processes and files beside those of the application: when, and never twice."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom import _core
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.files import Entry, counter, write
from support.interpreters import command, environment, run
from support.pages import samples
from support.service import leave_dead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLE = "MULTIPROM_WORKER_METRICS"


@pytest.fixture
def slot(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Have this process hold a slot of a directory with a metric, and worker metrics turned on."""
    monkeypatch.setenv(VARIABLE, "1")
    # What ran in this process before may have imported multiprom.gunicorn, which turns them on.
    _core.show_workers(shows=False)
    write(directory / "counter_1.db", [counter(1)])
    number = _core.hold_slot(str(directory), "worker")
    assert number is not None
    yield number
    _core.leave(str(directory))


@pytest.fixture
def registry(directory: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry, directory)
    return registry


@pytest.mark.parametrize("value", [None, "0", "off"])
@pytest.mark.usefixtures("slot")
def test_nothing_unless_it_is_turned_on(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(VARIABLE)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert list(samples(multiprom.generate_latest(registry).decode())) == ["requests_total"]
    assert [metric.name for metric in registry.collect()] == ["requests"]


def test_both_formats_can_be_read(registry: CollectorRegistry, slot: int) -> None:
    text = multiprom.generate_latest(registry).decode()
    families = {family.name: family for family in parse_text(text)}
    others = {family.name for family in parse_openmetrics(openmetrics_latest(registry).decode())}
    assert families.keys() == others == {metric.name for metric in registry.collect()}
    (sample,) = families["process_resident_memory_bytes"].samples
    assert sample.labels == {"worker": str(slot), "role": "worker"}
    assert samples(text)["multiprom_series"] == 1
    assert samples(text)['multiprom_files{state="unknown"}'] == 1
    assert samples(text)["multiprom_scrape_duration_seconds"] > 0


@pytest.mark.usefixtures("slot")
def test_a_metric_of_a_process_collector_comes_once(registry: CollectorRegistry) -> None:
    ProcessCollector(registry=registry)
    text = multiprom.generate_latest(registry).decode()
    for name in ("process_cpu_seconds_total", "process_open_fds"):
        assert text.count(f"# TYPE {name} ") == 1
        assert name in samples(text), "the one without labels"
    names = [metric.name for metric in registry.collect()]
    assert sorted(names) == sorted(set(names))
    assert "process_threads" in names


@pytest.mark.usefixtures("slot")
@pytest.mark.parametrize("order", [1, -1])
def test_a_registry_that_asks_for_names(order: int) -> None:
    """As prometheus_client's REGISTRY does, in which a ProcessCollector is from the beginning."""
    registry = CollectorRegistry(auto_describe=True)
    for register in (ProcessCollector, multiprom.MultiProcessCollector)[::order]:
        register(registry=registry)
    text = multiprom.generate_latest(registry).decode()
    assert text.count("# TYPE process_cpu_seconds_total ") == 1
    assert {"requests_total", "process_cpu_seconds_total"} <= samples(text).keys()
    assert "process_threads" in [metric.name for metric in registry.collect()]


def test_what_the_kernel_refuses_is_missing_alone(directory: Path) -> None:
    """Such as the clock of another process, or its limits."""
    script = """
import errno, os
import multiprom
from multiprom import _core
from prometheus_client import CollectorRegistry
from support.pages import samples
from support.refusing_kernel import refuse
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
registry = CollectorRegistry()
multiprom.MultiProcessCollector(registry)
_core.hold_slot(directory, "worker")
names = []
for _ in range(2):
    names.append(set(samples(multiprom.generate_latest(registry).decode())))
    for call in "clock_getres", "prlimit64":
        refuse(call, errno.EPERM)
(process,) = multiprom.inspect().processes
print(process.usage.cpu_seconds, process.usage.max_descriptors, process.usage.threads)
print(*sorted(name.partition("{")[0] for name in names[0] ^ names[1]))
"""
    printed = run(script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_WORKER_METRICS="1")
    assert printed == "None None 1\nprocess_cpu_seconds_total process_max_fds\n"


@pytest.mark.usefixtures("slot")
def test_a_metric_in_files_comes_once(registry: CollectorRegistry, directory: Path) -> None:
    write(directory / "gauge_max_1.db", [Entry("process_threads", "process_threads", value=99)])
    text = multiprom.generate_latest(registry).decode()
    assert text.count("# TYPE process_threads ") == 1
    assert samples(text)["process_threads"] == 99
    assert [metric.name for metric in registry.collect()].count("process_threads") == 1


@pytest.mark.usefixtures("slot")
def test_two_collectors_of_one_directory_show_it_once(
    registry: CollectorRegistry, directory: Path
) -> None:
    multiprom.MultiProcessCollector(registry, directory)
    text = multiprom.generate_latest(registry).decode()
    assert text.count("# TYPE process_threads ") == 1


def test_only_names_that_are_asked_for(directory: Path, slot: int) -> None:
    # Asks the collector for its names when it is registered.
    registry = CollectorRegistry(auto_describe=True)
    multiprom.MultiProcessCollector(registry, directory)
    assert "process_threads" in [metric.name for metric in registry.collect()]
    restricted = registry.restricted_registry(["process_threads"])
    labels = f'{{role="worker",worker="{slot}"}}'
    assert list(samples(multiprom.generate_latest(restricted).decode())) == [
        f"process_threads{labels}"
    ]


def test_a_process_of_another_namespace_is_counted_and_left_out(
    registry: CollectorRegistry, directory: Path, slot: int
) -> None:
    path = directory / f".multiprom.slot-{slot + 1}.lock"
    # This pid is another process here: it has not started at that time.
    other = {"pid": os.getpid(), "start": 1, "identifier": "x", "role": "worker"}
    path.write_text(json.dumps(other))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = samples(multiprom.generate_latest(registry).decode())
    assert found["multiprom_hidden_processes"] == 1
    assert found['multiprom_processes{role="worker"}'] == 2
    assert len([name for name in found if name.startswith("process_threads{")]) == 1


def test_dead_processes_with_files_are_counted(
    registry: CollectorRegistry, directory: Path, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slot == 0
    monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
    leave_dead(directory, "a", "b")
    found = samples(multiprom.generate_latest(registry).decode())
    assert found["multiprom_unfolded_processes"] == 2
    assert found['multiprom_files{state="dead"}'] == 4


def test_what_is_wrong_with_files_is_counted_by_reason(
    registry: CollectorRegistry, directory: Path, slot: int
) -> None:
    assert slot == 0
    (directory / "cache.db").write_text("SQLite")
    (directory / "counter_2.db").write_bytes(b"abc")
    found = samples(multiprom.generate_latest(registry).decode())
    assert found['multiprom_left_out{reason="foreign_name"}'] == 1
    assert found['multiprom_left_out{reason="bad_header"}'] == 1
    assert found['multiprom_files{state="foreign"}'] == 1
    assert found['multiprom_files{state="unknown"}'] == 2


@pytest.mark.usefixtures("slot")
def test_what_is_registered_meanwhile_fails_no_scrape(registry: CollectorRegistry) -> None:
    class Registering(type):
        """Registers a collector when it is looked at, as another thread may at any moment."""

        @property
        def __name__(cls) -> str:  # type: ignore[override]
            registry.register(Empty())
            return "Named"

    class Empty:
        def collect(self) -> list[Metric]:
            return []

    class Looked(Empty, metaclass=Registering):
        pass

    registry.register(Looked())
    assert "requests" in {metric.name for metric in registry.collect()}


@pytest.mark.usefixtures("slot")
def test_a_process_whose_files_were_removed_is_told_of_once(
    registry: CollectorRegistry, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = """
        import sys
        import multiprom
        from multiprom import _core
        multiprom.install(sys.argv[1])
        from prometheus_client import Counter
        _core.hold_slot(sys.argv[1], "worker")
        counter = Counter("jobs", "Help")
        for line in sys.stdin:
            counter.inc()
            print("counted", flush=True)
    """
    process = subprocess.Popen(
        command(script, directory),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def scrape() -> list[str]:
        """Let the process count, and return what two scrapes log: one tells of the other."""
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "counted\n"
        caplog.clear()
        for _ in range(2):
            multiprom.generate_latest(registry)
        return [record.getMessage() for record in caplog.records]

    with process:
        assert scrape() == []
        (directory / f"counter_{process.pid}.db").unlink()
        [line] = scrape()
        assert line.startswith(f"process {process.pid} counts in files that somebody has removed")
        assert str(directory) in line
        assert scrape() == []


def test_a_thousand_workers_leave_a_label_value_for_each_that_lived_at_once(
    directory: Path,
) -> None:
    script = """
        import os, re, signal, sys
        import multiprom
        from multiprom import _core
        path, workers, deaths = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        multiprom.install(path)
        from prometheus_client import CollectorRegistry
        _core.hold_slot(path, "master")
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry)
        seen, living = set(), []

        def scrape():
            text = multiprom.generate_latest(registry).decode()
            seen.update(re.findall(r'^process_threads{.*worker="([0-9]+)"', text, re.MULTILINE))

        def begin():
            counted, count = os.pipe()
            pid = os.fork()
            if not pid:
                _core.hold_slot(path, "worker")
                os.write(count, b"1")
                signal.pause()
            os.read(counted, 1)
            os.close(counted)
            os.close(count)
            living.append(pid)

        def end():
            pid = living.pop(0)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        for number in range(deaths):
            while len(living) < workers:
                begin()
            if number % 20 == 0:
                scrape()
            end()
        scrape()
        while living:
            end()
        print(len(seen))
    """
    workers = 4
    printed = run(
        script,
        directory,
        str(workers),
        "1000",
        PROMETHEUS_MULTIPROC_DIR=directory,
        MULTIPROM_WORKER_METRICS="1",
    )
    assert int(printed) == workers + 1, "these and the master"
