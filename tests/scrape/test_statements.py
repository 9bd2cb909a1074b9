"""Info and Enum: what living processes say of themselves is in the scrapes of all."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, Counter, Enum, Info, values
from support import ours, stock
from support.files import Entry, read, write
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("installed")

STATES = ["starting", "running", "stopped"]
LABELS = st.dictionaries(st.sampled_from(["version", "revision", "z"]), st.text(max_size=5))
TWO_FAMILIES = 2
BY_B = 'build_info{by="b",version="1"}'
ONE, TWO = (f'build_info{{version="{number}"}}' for number in "12")


def scrape() -> list[str]:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    lines = multiprom.generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def true(name: str) -> list[str]:
    """Return the series of a family that are true."""
    found = [line for line in scrape() if line.startswith(name)]
    return [line.removesuffix(" 1.0") for line in found if line.endswith(" 1.0")]


def entries(directory: Path, name: str) -> list[Entry]:
    return list(read((directory / name).read_bytes()))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), LABELS.filter(bool)), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(STATES)), min_size=1, max_size=4),
)
def test_one_process_is_written_as_prometheus_client_writes_it(
    tmp_path_factory: pytest.TempPathFactory,
    infos: list[tuple[str, dict[str, str]]],
    states: list[tuple[str, str]],
) -> None:
    directory = tmp_path_factory.mktemp("metrics")
    own = CollectorRegistry()
    with ours.process(directory, "w"):
        info = Info("build", "Help,\nand more", ["l"], registry=own)
        for label, said in infos:
            info.labels(label).info(said)
        enum = Enum("state", 'Help "too"', ["l"], states=STATES, registry=own)
        for label, state in states:
            enum.labels(label).state(state)
        shared = CollectorRegistry()
        multiprom.MultiProcessCollector(shared, directory)
        found = stock.texts(shared, multiprom.generate_latest, openmetrics_latest)
        # The order of series says nothing.
        lines, expected = (
            {form: sorted(text.splitlines()) for form, text in texts.items()}
            for texts in (found, stock.texts(own))
        )
        assert lines == expected
        samples = [repr(s) for family in shared.collect() for s in family.samples]
        assert sorted(samples) == sorted(
            repr(s._replace(labels=dict(sorted(s.labels.items())), value=float(s.value)))
            for family in own.collect()
            for s in family.samples
        )


def test_what_each_living_process_says(directory: Path) -> None:
    with ours.process(directory, "a"):
        first = Info("build", "Help", registry=None)
        first.info({"version": "1"})
        Info("build", "Help", registry=None).info({"version": "1", "by": "b"})
        with ours.process(directory, "b"):
            Info("build", "Help", registry=None).info({"version": "1"})
            assert sorted(true("build")) == [BY_B, ONE]
        first.info({"version": "2"})
        assert sorted(true("build")) == [BY_B, TWO]
        first.info({"version": "1"})
        assert sorted(true("build")) == [BY_B, ONE]
    assert scrape() == [], "both are dead"


def test_the_state_that_was_entered_last(directory: Path) -> None:
    with ours.process(directory, "a"):
        first = Enum("state", "Help", registry=None, states=STATES)
        assert true("state") == []
        first.state("running")
        assert true("state") == ['state{state="running"}']
        with ours.process(directory, "b"):
            second = Enum("state", "Help", registry=None, states=STATES)
            assert true("state") == ['state{state="running"}']
            second.state("stopped")
            assert true("state") == ['state{state="stopped"}']
            first.state("starting")
            assert true("state") == ['state{state="starting"}']
            second.state("stopped")
            assert len(scrape()) == len(STATES)
        assert true("state") == ['state{state="starting"}'], "of the living"
    assert scrape() == []


def test_labels_are_apart(directory: Path) -> None:
    with ours.process(directory, "a"):
        enum = Enum("state", "Help", ["job"], registry=None, states=STATES)
        enum.labels("x").state("running")
        enum.labels("y").state("stopped")
        enum.labels("x").state("starting")
    with ours.process(directory, "b"):
        for job, state in (("y", "starting"), ("x", "running"), ("y", "running")):
            Enum("state", "Other", ["job"], registry=None, states=STATES).labels(job).state(state)
        assert sorted(true("state")) == [
            'state{job="x",state="running"}',
            'state{job="y",state="running"}',
        ]


def test_what_is_removed_says_nothing() -> None:
    info = Info("build", "Help", ["l"], registry=None)
    enum = Enum("state", "Help", ["l"], registry=None, states=STATES)
    removed = info.labels("a")
    for label in "abc":
        info.labels(label).info({"version": label})
        enum.labels(label).state("running")
    info.remove("a")
    removed.info({"version": "2"})
    enum.remove("b")
    assert sorted(true("build")) == [f'build_info{{l="{v}",version="{v}"}}' for v in "bc"]
    assert sorted(true("state")) == [f'state{{l="{v}",state="running"}}' for v in "ac"]
    info.labels("a").info({"version": "2"})
    info.labels("b").info({"version": "b"})
    assert sorted(true("build")) == [
        f'build_info{{l="{label}",version="{version}"}}' for label, version in ("a2", "bb", "cc")
    ]
    enum.clear()
    info.clear()
    assert scrape() == []


def test_a_file_does_not_grow_by_an_info_that_changes(directory: Path) -> None:
    info = Info("build", "Help, " + "as long as it takes, " * 50, registry=None)
    for number in range(5000):
        info.info({"version": str(number)})
    assert true("build") == ['build_info{version="4999"}']
    (file,) = directory.glob("*.db")
    assert file.stat().st_size <= 1 << 20


def test_a_help_text_that_has_changed_and_files_of_another_type(directory: Path) -> None:
    """A service is deployed anew while processes of the earlier version still run."""
    for name in ("build", "state"):
        write(directory / "summary_1.db", [Entry(name, f"{name}_sum", {}, "Help", 1.0)])
        with ours.process(directory, "a"), ours.process(directory, "b"):
            said = []
            for help_text, version in (("Help", "1"), ("Help", "2"), ("Other", "2")):
                info = Info("build", help_text, registry=None)
                info.info({"version": version})
                said.append(info)
                state = STATES[int(version)]
                Enum("state", help_text, registry=None, states=STATES).state(state)
            said[1].info({"version": "3"})
            assert true("build") == [f'build_info{{version="{number}"}}' for number in "123"]
            assert true("state") == ['state{state="stopped"}']


def test_errors_are_those_of_prometheus_client() -> None:
    def errors() -> list[str]:
        info = Info("build", "Help", ["l"], registry=None)
        enum = Enum("state", "Help", ["l"], registry=None, states=STATES)
        found: list[str] = []
        for function, argument in (
            (info.info, {"version": "1"}),
            (info.labels("a").info, {"l": "1"}),
            (info.labels("a").info, {"version": None}),
            (info.labels("a").info, 7),
            (enum.state, "running"),
            (enum.labels("a").state, "unknown"),
        ):
            call: Any = function
            try:
                found.append(repr(call(argument)))
            except (AttributeError, TypeError, ValueError) as error:
                found.append(repr(error))
        return found

    found = errors()
    # Old versions of prometheus_client take None as the value of a label.
    assert bool(scrape()) is ("None" in found)
    multiprom.uninstall()
    assert found == errors()


def test_values_that_are_no_text() -> None:
    """prometheus_client takes them, and fails when it writes them."""
    Info("build", "Help", registry=None).info({"version": 1, "x": "\ud800"})  # type: ignore[dict-item]
    Info("other", "Help", registry=None).info({"version": 1})  # type: ignore[dict-item]
    assert true("other") == ['other_info{version="1"}']
    assert any("/info_" in item.path for item in multiprom.left_out())


def test_prometheus_client_reads_the_files(directory: Path) -> None:
    """It adds up what processes say; withdrawn labels are 0."""
    for pid in ("1", "2"):
        with ours.process(directory, pid):
            info = Info("build", "Help", registry=None)
            info.info({"version": "0"})
            info.info({"version": "1"})
            Enum("state", "Help", registry=None, states=STATES).state("running")
    multiprom.uninstall()
    merged = stock.MultiProcessCollector.merge(stock.files_of(directory))
    found = {tuple(sample.labels.values()): sample.value for f in merged for sample in f.samples}
    assert found == {
        ("0",): 0.0,
        ("1",): 2.0,
        ("starting",): 0.0,
        ("running",): 2.0,
        ("stopped",): 0.0,
    }
    multiprom.install()
    before = time.time()
    with ours.process(directory, "3"):
        Enum("state", "Help", registry=None, states=STATES).state("running")
    starting, running, _ = entries(directory, "stateset_3.db")
    assert starting.timestamp == 0.0
    assert before <= running.timestamp <= time.time()


def test_files_of_the_dead_are_deleted(directory: Path) -> None:
    with ours.process(directory, "1"):
        Info("build", "Help", registry=None).info({"version": "1"})
        Enum("state", "Help", registry=None, states=STATES).state("running")
        multiprom.compact(directory)
        assert len(stock.files_of(directory)) == TWO_FAMILIES
    assert multiprom.compact(directory).files_deleted == TWO_FAMILIES
    assert stock.files_of(directory) == []


def test_a_file_of_the_same_identifier_is_begun_anew(directory: Path) -> None:
    for version in "12":
        with ours.process(directory, "1"):
            Info("build", "Help", registry=None).info({"version": version})
            assert true("build") == [f'build_info{{version="{version}"}}']


def test_a_process_that_calls_itself_dead(directory: Path) -> None:
    with ours.process(directory, "1"):
        Info("build", "Help", registry=None).info({"version": "1"})
        multiprom.mark_process_dead("1", directory)
        assert scrape() == []


def test_where_no_file_can_be_written(tmp_path: Path, directory: Path) -> None:
    """This process's own scrapes have it meanwhile."""
    directory.rmdir()
    info = Info("build", "Help", registry=None)
    info.info({"version": "0"})
    info.info({"version": "1"})
    Enum("state", "Help", registry=None, states=STATES).state("stopped")
    directory.mkdir()
    assert true("build") == ['build_info{version="1"}']
    assert true("state") == ['state{state="stopped"}']
    assert tmp_path == directory.parent


def test_children_of_a_fork_say_what_they_are_told() -> None:
    """What the parent says is the parent's, as what it has counted."""
    info = Info("build", "Help", registry=None)
    info.info({"version": "1"})
    counter = Counter("n", "Help", registry=None)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        counter.inc()
        os.write(write_end, b"." if scrape().count('build_info{version="1"} 1.0') == 1 else b"!")
        os._exit(0)
    os.wait()
    assert os.read(read_end, 1) == b"."
    info.info({"version": "2"})
    assert true("build") == ['build_info{version="2"}']


def test_what_was_said_before_install(directory: Path) -> None:
    script = """
from prometheus_client import REGISTRY, CollectorRegistry, Enum, Info
Info("build", "Help", ["l"]).labels("a").info({"version": "1"})
Info("unset", "Help")
other = Info("other", "Help", registry=None)
other.info({"version": "1"})
Enum("state", "Help", states=["up", "down"]).state("down")
Enum("first", "Help", states=["up", "down"]).state("up")
import multiprom
multiprom.install(also=[other])
from support.scripts import scrape
import os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["LATER"]
print(sorted(scrape()))
other.info({"version": "2"})
multiprom.install()
collector = multiprom.MultiProcessCollector(None)
print([s.labels for f in collector.collect() for s in f.samples if s.name == "other_info"])
"""
    printed = run(script, LATER=directory)
    assert printed.splitlines() == [
        "['build_info', 'other_info', 'state']",
        "[{'version': '2'}]",
    ]


def test_after_uninstall_and_install_it_is_said_in_the_new_directory(tmp_path: Path) -> None:
    """As suites do that have metrics in modules, and a directory for each test."""
    info = Info("build", "Help", registry=None)
    enum = Enum("state", "Help", registry=None, states=STATES)
    info.info({"version": "1"})
    enum.state("running")
    multiprom.uninstall()
    enum.state(STATES[0])
    multiprom.install(tmp_path / "other", also=[info, enum])
    assert (true("build"), true("state")) == ([ONE], ['state{state="starting"}'])
    info.info({"version": "2"})
    enum.state("stopped")
    assert (true("build"), true("state")) == ([TWO], ['state{state="stopped"}'])


def test_of_two_threads_the_last_is_right() -> None:
    """Another one changes the state between this one's change and what it writes of that."""
    others: list[str] = []

    def identify() -> str:
        if others:
            enum.state(others.pop())
        return "1"

    with mock.patch.object(values, "ValueClass", multiprom.MultiProcessValue(identify)):
        enum = Enum("state", "Help", registry=None, states=STATES)
        enum.state("starting")
        others.append("stopped")
        enum.state("running")
        assert true("state") == ['state{state="stopped"}']


def test_a_statement_that_cannot_be_written_does_not_stop_install(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Textless:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    multiprom.uninstall()
    info = Info("build", "Help", registry=None)
    info.info({"version": Textless()})  # type: ignore[dict-item]
    multiprom.install(directory, also=[info])
    assert scrape() == []
    assert "could not move prometheus_client.metrics.Info(build) into shared files" in caplog.text


def test_beside_the_collector_it_is_there_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until multiprom had it, that was how to show an Info in multiprocess mode."""
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    info = Info("build", "Help", registry=registry)
    enum = Enum("state", "Help", registry=registry, states=STATES)
    unset = Info("unset", "Help", registry=registry)
    info.info({"version": "1"})
    enum.state("running")
    text = multiprom.generate_latest(registry).decode()
    assert text.count('build_info{version="1"} 1.0') == 1
    assert text.count("# TYPE state gauge") == 1
    assert "unset_info 1.0" in text, unset
    assert caplog.messages == []


def test_a_value_class_of_the_program_gets_nothing() -> None:
    """As metrics in memory: only prometheus_client's registries have it."""
    with mock.patch.object(values, "ValueClass", values.MutexValue):
        Info("build", "Help", registry=None).info({"version": "1"})
    assert scrape() == []
