"""Exemplars cross processes: of each counter and bucket the newest, in OpenMetrics only."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiprom import _core
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, metrics, values
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar
from support import ours, stock
from support.files import INITIAL_SIZE, Entry, write

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.usefixtures("installed")

SUFFIX = ".exemplars"
LABELS = st.dictionaries(
    st.sampled_from(["trace_id", "span_id", "_x"]), st.text(max_size=45), max_size=2
)


def text() -> str:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    return openmetrics_latest(registry).decode()


def exemplars(lines: Iterable[str] | None = None) -> list[str]:
    """Return the lines that have an exemplar."""
    return sorted(line for line in lines or text().splitlines() if " # {" in line)


def traces() -> dict[str, str]:
    """Return the trace of each series that has one."""
    return {line.split(" ")[0]: line.split('trace_id="')[1].split('"')[0] for line in exemplars()}


def files(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if not file.name.startswith("."))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["counter", "histogram"]),
            st.floats(0, 4) | st.integers(0, 4),
            st.none() | LABELS,
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_written_as_prometheus_client_writes_it(
    tmp_path_factory: pytest.TempPathFactory,
    observed: list[tuple[str, float, dict[str, str] | None, bool]],
) -> None:
    def observe() -> CollectorRegistry:
        registry = CollectorRegistry()
        counter = Counter("n", "Help", ["l"], registry=registry).labels("a")
        histogram = Histogram("h", "Help", buckets=[1, 2.5], registry=registry)
        clock = [number / 7 for number in range(10_000)]
        with mock.patch.object(time, "time", side_effect=clock):
            for kind, amount, labels, by_keyword in observed:
                count: Any = counter.inc if kind == "counter" else histogram.observe
                if by_keyword:
                    count(amount, exemplar=labels)
                else:
                    count(amount, labels)
        return registry

    directory = tmp_path_factory.mktemp("metrics")
    with ours.process(directory, "w"):
        own = observe()
        shared = CollectorRegistry()
        multiprom.MultiProcessCollector(shared, directory)
        found = exemplars(openmetrics_latest(shared).decode().splitlines())
        assert found == exemplars(stock.openmetrics_latest(own).decode().splitlines())
        objects = exemplars(stock.openmetrics_latest(shared).decode().splitlines())
    multiprom.uninstall()
    expected = exemplars(stock.openmetrics_latest(observe()).decode().splitlines())
    multiprom.install(directory)
    assert found == objects == expected


def test_the_newest_of_all_processes(directory: Path) -> None:
    def make() -> tuple[Counter, Histogram]:
        histogram = Histogram("h", "Help", ["l"], buckets=[1, 2], registry=None)
        return Counter("n", "Help", registry=None), histogram

    with ours.process(directory, "a"):
        counter, histogram = make()
        counter.inc(1, {"trace_id": "1"})
        histogram.labels("x").observe(1, {"trace_id": "2"})
        histogram.labels("x").observe(3, {"trace_id": "3"})
        with ours.process(directory, "b"):
            counter_b, histogram_b = make()
            counter_b.inc(1, exemplar={"trace_id": "4"})
            histogram_b.labels("x").observe(0.5, exemplar={"trace_id": "5"})
            histogram_b.labels("y").observe(0.5, exemplar={"trace_id": "6"})
            expected = {
                "n_total": "4",
                'h_bucket{l="x",le="1.0"}': "5",
                'h_bucket{l="x",le="+Inf"}': "3",
                'h_bucket{l="y",le="1.0"}': "6",
            }
            assert traces() == expected
            histogram.labels("x").observe(0.5, exemplar={"trace_id": "7"})
            assert traces() == expected | {'h_bucket{l="x",le="1.0"}': "7"}
        # They go with the files of the process.
        multiprom.compact(directory)
        assert traces() == {
            "n_total": "1",
            'h_bucket{l="x",le="1.0"}': "7",
            'h_bucket{l="x",le="+Inf"}': "3",
        }
    multiprom.compact(directory)
    assert traces() == {}
    assert [name for name in files(directory) if name.endswith(SUFFIX)] == []
    assert "n_total 2.0" in text()


def test_where_keys_do_not_name_series_one_to_one(directory: Path) -> None:
    """Help texts differ, and bounds of buckets are written in several ways."""
    with ours.process(directory, "a"):
        Counter("n", "Help", registry=None).inc(1, {"trace_id": "1"})
        Counter("n", "Other", registry=None).inc(1, {"trace_id": "2"})
        made = values.ValueClass("histogram", "h", "h_bucket", ("le",), ("2",), "Help")
        made.set_exemplar(Exemplar({"trace_id": "3"}, 2, 3.5))
        Histogram("h", "Help", buckets=[1, 2], registry=None).observe(0.5, {"trace_id": "4"})
        assert traces() == {
            "n_total": "2",
            'h_bucket{le="1.0"}': "4",
            'h_bucket{le="2.0"}': "3",
        }


def test_only_where_openmetrics_has_them(directory: Path) -> None:
    counter = Counter("n", "Help", registry=None)
    counter.inc(1, {"trace_id": "1"})
    histogram = Histogram("h", "Help", registry=None)
    gauge = Gauge("g", "Help", registry=None)
    for value in (histogram._sum, gauge._value):
        value.set_exemplar(Exemplar({"trace_id": "2"}, 1, 2.5))
    gauge.set(1)
    assert traces() == {"n_total": "1"}
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    assert b"trace_id" not in multiprom.generate_latest(registry)
    files = stock.files_of(directory)
    assert not any(
        s.exemplar for f in multiprom.MultiProcessCollector.merge(files) for s in f.samples
    )


def test_what_is_no_exemplar_of_a_text() -> None:
    """With an exemplar of such a kind nobody could read the text."""
    counter = Counter("n", "Help", registry=None)
    for labels, timestamp in (
        ({"a.b": "c"}, 1.5),
        ({"a": 7}, 1.5),
        ({"a": "\ud800"}, 1.5),
        ({"a": "b"}, float("nan")),
        ({"a": "b"}, None),
        (None, 1.5),
    ):
        made: Any = Exemplar
        counter._value.set_exemplar(made(labels, 1, timestamp))
        assert exemplars() == []
    counter._value.set_exemplar("anything")
    counter.inc(1, {})
    assert exemplars() == []
    assert counter._value.get_exemplar() is None


def test_errors_are_those_of_prometheus_client() -> None:
    def errors() -> list[tuple[type[BaseException], str, float]]:
        found: list[tuple[type[BaseException], str, float]] = []
        counter = Counter("n", "Help", registry=None)
        histogram = Histogram("h", "Help", registry=None)
        for labels in (
            {"a": "x" * 128},
            {"é" * 64: "é" * 65},
            {"__a": ""},
            {"a": 7},
            {7: "a"},
            ["a"],
            "a",
            7,
        ):
            for count in (counter.inc, histogram.observe):
                call: Any = count
                with pytest.raises((AttributeError, TypeError, ValueError)) as caught:
                    call(1, exemplar=labels)
                total = counter._value.get() + histogram._sum.get()
                found.append((caught.type, str(caught.value), total))
        return found

    found = errors()
    assert exemplars() == []
    multiprom.uninstall()
    assert found == errors()


def test_the_longest_exemplar_and_a_check_that_is_patched() -> None:
    counter = Counter("n", "Help", registry=None)
    longest = "é" * 120
    counter.inc(1, {"trace_id": longest})
    assert traces() == {"n_total": longest}
    with mock.patch.object(metrics, "_validate_exemplar", side_effect=KeyError) as check:
        with pytest.raises(KeyError):
            counter.inc(1, {"trace_id": "2"})
        check.assert_called_once_with({"trace_id": "2"})
    with mock.patch.object(values.ValueClass, "set_exemplar") as patched:
        counter.inc(1, {"trace_id": "3"})
        assert patched.call_count == 1
    assert traces() == {"n_total": longest}


def test_a_child_of_a_fork_has_none_of_its_parents(directory: Path) -> None:
    counter = Counter("n", "Help", registry=None)
    counter.inc(1, {"trace_id": "1"})
    child = os.fork()
    if child == 0:
        counter.inc()
        is_none = counter._value.get_exemplar() is None
        counter.inc(1, {"trace_id": "2"})
        os._exit(0 if is_none and counter._value.get_exemplar() is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert traces() == {"n_total": "2"}
    assert counter._value.get_exemplar().labels == {"trace_id": "1"}
    assert sorted(name for name in files(directory) if name.endswith(SUFFIX)) == sorted(
        f"counter_{pid}.db{SUFFIX}" for pid in (child, os.getpid())
    )


def test_a_series_that_is_removed() -> None:
    counter = Counter("n", "Help", ["l"], registry=None)
    counter.labels("a").inc(1, {"trace_id": "1"})
    counter.remove("a")
    assert exemplars() == []
    counter.labels("a").inc(1)
    assert exemplars() == []
    counter.labels("a").inc(1, {"trace_id": "2"})
    assert traces() == {'n_total{l="a"}': "2"}


def test_a_file_does_not_grow_by_series_that_come_and_go(directory: Path) -> None:
    counter = Counter("n", "Help", ["l"], registry=None)
    for number in range(2000):
        counter.labels(str(number)).inc(1, {"trace_id": str(number)})
        counter.remove(str(number))
    (file,) = directory.glob("*" + SUFFIX)
    assert file.stat().st_size == INITIAL_SIZE


def test_without_a_directory_there_are_none(directory: Path) -> None:
    directory.rmdir()
    counter = Counter("n", "Help", registry=None)
    counter.inc(1, {"trace_id": "1"})
    directory.mkdir()
    assert "n_total 1.0" in text()
    counter.inc(1, {"trace_id": "2"})
    assert traces() == {"n_total": "2"}


def test_what_an_earlier_process_has_left(directory: Path) -> None:
    def leave(name: str) -> Path:
        path = directory / name
        path.write_bytes(b"anything")
        return path

    orphan = leave("counter_7.db" + SUFFIX)
    other = leave("cache.db" + SUFFIX)
    own = leave("counter_1.db" + SUFFIX)
    with ours.process(directory, "1"):
        counter = Counter("n", "Help", registry=None)
        counter.inc(1, {"trace_id": "1"})
        assert traces() == {"n_total": "1"}
        with ours.process(directory, "2"):
            Counter("n", "Help", registry=None).inc()
        multiprom.compact(directory)
        assert not orphan.exists()
        assert own.exists()
        assert other.exists()
    orphan = leave("counter_7.db" + SUFFIX)
    _core.remove_leftovers(str(directory), 1)
    assert [name for name in files(directory) if name.endswith(SUFFIX)] == [other.name]


@pytest.mark.parametrize("seed", range(30))
def test_damage(directory: Path, seed: int) -> None:
    """Whatever such a file holds: a scrape has all counts, and a text that can be read."""
    with ours.process(directory, "1"):
        counter = Counter("n", "Help", ["l"], registry=None)
        for label in "abc":
            counter.labels(label).inc(1, {"trace_id": label * 20})
    write(directory / "counter_2.db", [Entry("n", "n_total", {"l": "a"}, "Help", 1.0)])
    path = directory / ("counter_1.db" + SUFFIX)
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    used = int.from_bytes(content[:4], "little")
    for _ in range(chance.randrange(1, 30)):
        content[chance.randrange(used)] = chance.choice([0, 1, 10, 34, 125, 128, 255])
    path.write_bytes(content[: chance.choice([used, used // 2, 5, 0])])
    found = text()
    values = [line.split(" ")[1] for line in found.splitlines() if line[0] != "#"]
    assert values == ["2.0", "1.0", "1.0"]
    list(text_string_to_metric_families(found))


def test_damage_is_reported_and_shown_by_status(directory: Path) -> None:
    with ours.process(directory, "1"):
        Counter("n", "Help", registry=None).inc(1, {"trace_id": "1"})
        path = directory / ("counter_1.db" + SUFFIX)
        with path.open("r+b") as file:
            file.seek(4)
            file.write(b"\0\0\0\1")
        assert exemplars() == []
        assert [item.reason for item in multiprom.left_out() if item.path == str(path)] == [
            "no file of exemplars"
        ]
        assert "no file of exemplars" in _core.inspect(str(directory))


@pytest.mark.parametrize("made", [Path.mkdir, os.mkfifo])
def test_what_is_no_file(directory: Path, made: Any) -> None:
    with ours.process(directory, "1"):
        counter = Counter("n", "Help", registry=None)
        counter.inc()
        made(directory / ("counter_1.db" + SUFFIX))
        assert exemplars() == []
        counter.inc(1, {"trace_id": "1"})
        assert "n_total 2.0" in text()


def test_a_kill_at_any_moment(directory: Path) -> None:
    """Nothing that a scrape trips over is left, and what is read beside the writer is whole."""
    for number in range(12):
        child = os.fork()
        if child == 0:
            counter = Counter("n", "Help", ["l"], registry=None)
            while True:
                for step in range(1000):
                    labels = {"trace_id": f"{step}" * 30, "step": f"{step}"}
                    counter.labels(str(step % 7)).inc(step, labels)
        time.sleep(0.05 + number / 100)
        for is_dead in (False, True):
            if is_dead:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            for family in text_string_to_metric_families(text()):
                for sample in family.samples:
                    if exemplar := sample.exemplar:
                        step = exemplar.labels["step"]
                        assert exemplar.labels["trace_id"] == step * 30
                        assert exemplar.value == int(step)
    assert directory.is_dir()
