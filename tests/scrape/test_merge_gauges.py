"""Each mode of a gauge says what becomes of the values of several processes, and whose they are."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import stock
from support.equality import number, plain, samples
from support.files import Entry, counter, write
from support.processes import Instrument, Process, Series
from support.processes import write as write_processes

if TYPE_CHECKING:
    from pathlib import Path


def merged(
    directory: Path, mode: str, *rows: tuple[str, float, float], **labels: str
) -> dict[str, float]:
    """Return the values by `pid` label, '' where there is none; a row is pid, value, timestamp."""
    paths = [
        write(
            directory / f"gauge_{mode}_{pid}.db", [Entry("jobs", "jobs", labels, "Help", value, at)]
        )
        for pid, value, at in rows
    ]
    found = samples(multiprom.MultiProcessCollector.merge(map(str, paths)))
    return {dict(labels).get("pid", ""): value for (_, labels), value in found.items()}


@pytest.mark.parametrize("mode", ["all", "liveall", stock.EXTRA_MODE, "ALL"])
def test_all_keeps_each_process(directory: Path, mode: str) -> None:
    """Modes that nobody knows are the business of projects that added them: they keep all."""
    assert merged(directory, mode, ("1", 3, 0), ("2", 4, 0)) == {"1": 3, "2": 4}


@pytest.mark.parametrize(
    ("mode", "expected"), [("min", -2), ("max", 7), ("sum", 9), ("mostrecent", 4)]
)
@pytest.mark.parametrize("live", ["", "live"])
def test_others_make_one_value(directory: Path, live: str, mode: str, expected: float) -> None:
    rows = ("1", 7.0, 2.0), ("2", 4.0, 3.0), ("3", -2.0, 1.0)
    assert merged(directory, live + mode, *rows) == {"": expected}


@pytest.mark.parametrize("mode", ["mostrecent", "livemostrecent"])
class TestMostRecent:
    def test_never_set_is_left_out(self, directory: Path, mode: str) -> None:
        assert merged(directory, mode, ("1", 5, 0), ("2", 6, 0)) == {}

    def test_before_the_epoch_is_left_out(self, directory: Path, mode: str) -> None:
        assert merged(directory, mode, ("1", 5, -1)) == {}

    def test_of_two_at_the_same_time_the_first_file_wins(self, directory: Path, mode: str) -> None:
        assert merged(directory, mode, ("2", 5, 1), ("1", 6, 1)) == {"": 5}

    def test_no_timestamp_is_printed(self, directory: Path, mode: str) -> None:
        """It decides, but Prometheus would take a sample with an old one for stale."""
        path = write(directory / f"gauge_{mode}_1.db", [Entry("jobs", "jobs", {}, "", 1, 2)])
        (metric,) = multiprom.MultiProcessCollector.merge([str(path)])
        assert metric.samples[0].timestamp is None


@pytest.mark.parametrize(
    ("mode", "first", "second", "expected"),
    [
        ("min", math.nan, 1.0, math.nan),
        ("min", 1.0, math.nan, 1.0),
        ("max", math.nan, 1.0, math.nan),
        ("max", 1.0, math.nan, 1.0),
        ("min", 0.0, -0.0, 0.0),
        ("max", -0.0, 0.0, -0.0),
        ("min", math.inf, -math.inf, -math.inf),
        ("max", math.inf, -math.inf, math.inf),
        ("sum", math.inf, -math.inf, math.nan),
        ("sum", math.inf, 1.0, math.inf),
        ("sum", -0.0, -0.0, 0.0),
        ("sum", 1e308, 1e308, math.inf),
    ],
)
def test_special_values(
    directory: Path, mode: str, first: float, second: float, expected: float
) -> None:
    """As prometheus_client's comparisons and additions have it, in the order of the files."""
    found = merged(directory, mode, ("1", first, 0), ("2", second, 0))
    assert {pid: number(value) for pid, value in found.items()} == {"": number(expected)}


class TestPidLabel:
    @pytest.mark.parametrize("mode", ["all", "liveall"])
    def test_overwrites_the_users_own(self, directory: Path, mode: str) -> None:
        assert merged(directory, mode, ("1", 3, 0), pid="mine") == {"1": 3}

    @pytest.mark.parametrize("mode", ["min", "max", "sum", "mostrecent", "livesum"])
    def test_drops_the_users_own(self, directory: Path, mode: str) -> None:
        assert merged(directory, mode, ("1", 3, 1), ("2", 3, 1), pid="mine").keys() == {""}

    def test_two_of_the_users_own_stay_two_samples(self, directory: Path) -> None:
        """They end with equal labels, but there were two series and no rule to merge them."""
        labels = [{"pid": "a"}, {"pid": "b"}]
        entries = [Entry("jobs", "jobs", own, "", n) for n, own in enumerate(labels)]
        path = write(directory / "gauge_all_1.db", entries)
        expected = stock.MultiProcessCollector.merge([str(path)])
        merged = multiprom.MultiProcessCollector.merge([str(path)])
        assert plain(merged) == plain(expected)
        (metric,) = merged
        assert [sample.labels for sample in metric.samples] == [{"pid": "1"}, {"pid": "1"}]

    def test_stays_on_other_types(self, directory: Path) -> None:
        path = write(directory / "counter_1.db", [Entry("n", "n_total", {"pid": "mine"}, "", 1)])
        (metric,) = multiprom.MultiProcessCollector.merge([str(path)])
        assert metric.samples[0].labels == {"pid": "mine"}

    def test_keeps_the_place_of_the_users_own(self, directory: Path) -> None:
        entries = [Entry("jobs", "jobs", {"pid": "mine", "a": "1", "z": "2"})]
        path = write(directory / "gauge_all_1.db", entries)
        (metric,) = multiprom.MultiProcessCollector.merge([str(path)])
        assert list(metric.samples[0].labels.items()) == [("a", "1"), ("pid", "1"), ("z", "2")]


def test_the_last_file_decides_the_mode(directory: Path) -> None:
    """During a rolling release processes may disagree; prometheus_client takes the last."""
    paths = [
        write(directory / f"gauge_{mode}_{pid}.db", [Entry("jobs", "jobs", {}, "", value, 1)])
        for pid, (mode, value) in enumerate([("max", 1), ("min", 2), ("sum", 4)])
    ]
    for files in (paths, paths[::-1], paths[1:] + paths[:1]):
        names = [str(path) for path in files]
        expected = stock.MultiProcessCollector.merge(names)
        assert plain(multiprom.MultiProcessCollector.merge(names)) == plain(expected)


@pytest.mark.parametrize("mode", [*stock.GAUGE_MODES, stock.EXTRA_MODE])
def test_as_written_by_gauges(directory: Path, mode: str) -> None:
    def gauge(*amounts: float) -> Instrument:
        series = (Series(("x",), amounts, timestamp=amounts[0]), Series(("y",), ()))
        return Instrument("gauge", "jobs", "Help", ("queue",), series, mode=mode)

    processes = [Process(10, (gauge(3, 1),)), Process(9, (gauge(2),))]
    files = write_processes(directory, processes)
    expected = stock.MultiProcessCollector.merge(files)
    assert plain(multiprom.MultiProcessCollector.merge(files)) == plain(expected)


# A process may be called anything, and what its files are called says who it was.


@pytest.mark.parametrize(
    "identifier",
    [
        "1",
        "worker_a_1",
        "_",
        "a__b",
        "trailing_",
        "all_1",
        "gauge_all_1",
        "3f2b8a0e-6a53-4c8e-9d42-0d6d0a9b7c11",
        "test_collect[counter-1]",
        "a.db",
        "ünïcode 字",
        "*?[!x]",
        "-1",
        "'\"\\",
    ],
)
@pytest.mark.parametrize("mode", ["all", "liveall"])
def test_pid_label(directory: Path, identifier: str, mode: str) -> None:
    """prometheus_client cuts the identifier at its first underscore; it is whole here."""
    gauge = Instrument("gauge", "jobs", "Help", (), (Series((), (3.0,)),), mode=mode)
    write_processes(directory, [Process(identifier, (gauge,))])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {("jobs", (("pid", identifier),)): 3.0}


def test_identifiers_that_are_equal_before_the_underscore(directory: Path) -> None:
    """With prometheus_client the two overwrite each other."""
    for worker in ("worker_1", "worker_2"):
        write(directory / f"gauge_all_{worker}.db", [Entry("jobs", "jobs", value=int(worker[-1]))])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {
        ("jobs", (("pid", "worker_1"),)): 1,
        ("jobs", (("pid", "worker_2"),)): 2,
    }


@pytest.mark.parametrize("prefix", ["counter", "gauge_sum", "gauge_livesum"])
def test_without_pid_label(directory: Path, prefix: str) -> None:
    entry = counter(2) if prefix == "counter" else Entry("requests", "requests_total", value=2)
    for identifier in ("a_1", "a_2", "a"):
        write(directory / f"{prefix}_{identifier}.db", [entry])
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found == {("requests_total", ()): 6}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such file names")
@pytest.mark.parametrize("identifier", [b"w\xff", b"\xc3", b"a_\x80_1"])
def test_identifiers_that_are_not_utf8(directory: Path, identifier: bytes) -> None:
    """Not one count is lost; a label must be text, so there the bytes in question are replaced."""
    series = (Series((), (3.0,)),)
    instruments = tuple(
        Instrument(kind, kind, "Help", (), series, mode=mode, buckets=(1.0, 5.0))
        for kind, mode in (("counter", ""), ("summary", ""), ("histogram", ""), ("gauge", "all"))
    )
    write_processes(directory, [Process(os.fsdecode(identifier), instruments)])
    assert len(stock.files_of(directory)) == 4
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry, directory)
    expected = {
        ("counter_total", ()): 3,
        ("summary_count", ()): 1,
        ("summary_sum", ()): 3,
        ("histogram_bucket", (("le", "1.0"),)): 0,
        ("histogram_bucket", (("le", "5.0"),)): 1,
        ("histogram_bucket", (("le", "+Inf"),)): 1,
        ("histogram_count", ()): 1,
        ("histogram_sum", ()): 3,
        ("gauge", (("pid", identifier.decode(errors="replace")),)): 3,
    }
    assert samples(collector.collect()) == expected
    assert samples(collector.merge(stock.files_of(directory))) == expected
    read = multiprom.MultiProcessCollector._read_metrics(stock.files_of(directory))
    assert samples(collector._accumulate_metrics(read, accumulate=True)) == expected
    assert b"\ncounter_total 3.0\n" in multiprom.generate_latest(registry)


def test_what_is_to_be_written_again_keeps_its_times(directory: Path) -> None:
    """Else gauges would be left out of the next merge: they count as never set."""
    for pid, value, at in (("1", 3, 5.5), ("2", 4, 6.5), ("3", 5, 0.0)):
        for name, mode in (("jobs", "mostrecent"), ("most", "max")):
            entry = Entry(name, name, {"l": "a"}, "Help", value, at)
            write(directory / f"gauge_{mode}_{pid}.db", [entry])
    files = stock.files_of(directory)
    for accumulate, expected in ((True, None), (False, 6.5)):
        merged = multiprom.MultiProcessCollector.merge(files, accumulate=accumulate)
        found = {s.name: (s.value, s.timestamp) for metric in merged for s in metric.samples}
        assert found == {"jobs": (4.0, expected), "most": (5.0, None)}
