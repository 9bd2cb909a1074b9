"""The order of families, samples and addends is that of the files, as with prometheus_client.

Families, samples and HELP stand where the first file puts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import stock
from support.equality import plain, samples
from support.files import Entry, counter, entry_bytes, file_bytes, of_one_type, write

if TYPE_CHECKING:
    from pathlib import Path


def test_families_in_the_order_of_files_and_entries(directory: Path) -> None:
    first = write(directory / "counter_1.db", [counter(1, "z"), counter(1, "m")])
    second = write(directory / "counter_2.db", [counter(1, "a"), counter(1, "z")])

    def names(*files: Path) -> list[str]:
        return [metric.name for metric in multiprom.MultiProcessCollector.merge(map(str, files))]

    assert names(first, second) == ["z", "m", "a"]
    assert names(second, first) == ["a", "z", "m"]


def test_collect_takes_the_files_in_name_order(directory: Path) -> None:
    """So that one scrape looks like the next; prometheus_client leaves it to the disk."""
    # Written in another order than that of their names.
    for pid in ("2", "10", "1", "é", "Z"):
        write(directory / f"counter_{pid}.db", [counter(1, f"from_{ord(pid[-1])}_{len(pid)}")])
    collected = multiprom.MultiProcessCollector(None, str(directory)).collect()
    expected = stock.MultiProcessCollector.merge(
        [str(directory / f"counter_{pid}.db") for pid in ("1", "10", "2", "Z", "é")]
    )
    assert plain(collected) == plain(expected)


def test_help_of_the_first_file(directory: Path) -> None:
    files = [
        str(write(directory / f"counter_{pid}.db", [Entry("n", "n_total", {}, text, 1)]))
        for pid, text in enumerate(["first", "second"])
    ]
    (metric,) = multiprom.MultiProcessCollector.merge(files)
    assert metric.documentation == "first"
    # One series, though the keys in the files differ.
    assert [sample.value for sample in metric.samples] == [2]
    (metric,) = multiprom.MultiProcessCollector.merge(files[::-1])
    assert metric.documentation == "second"


def test_samples_of_two_processes(directory: Path) -> None:
    """Versions of prometheus_client differ; the installed one decides."""
    one = [
        Entry("took", f"took_{suffix}", {"code": code}, value=1)
        for code in ("b", "a")
        for suffix in ("count", "sum")
    ]
    two = [
        Entry("took", f"took_{suffix}", {"code": code}, value=1)
        for suffix in ("sum", "count")
        for code in ("c", "a", "b")
    ]
    files = [
        str(write(directory / f"summary_{pid}.db", entries))
        for pid, entries in enumerate([one, two])
    ]
    expected = stock.MultiProcessCollector.merge(files)
    assert plain(multiprom.MultiProcessCollector.merge(files)) == plain(expected)


def test_order_of_labels_in_the_file_is_no_matter(directory: Path) -> None:
    """Other writers of the format may not sort them; they are sorted in the result."""
    keys = [b'["n", "n_total", {"b": "2", "a": "1"}, ""]', b'["n","n_total",{"a":"1","b":"2"},""]']
    path = directory / "counter_1.db"
    path.write_bytes(file_bytes([entry_bytes(key, 1) for key in keys]))
    (metric,) = multiprom.MultiProcessCollector.merge([str(path)])
    (sample,) = metric.samples
    assert (list(sample.labels.items()), sample.value) == ([("a", "1"), ("b", "2")], 2)


class TestTypeConflicts:
    """One name, two types: the first file decides the type, as with prometheus_client.

    What files of other types hold of the family is left out: there prometheus_client gives a text
    that Prometheus refuses or takes wrongly.
    """

    def test_counter_and_gauge(self, directory: Path) -> None:
        files = [
            str(write(directory / "counter_1.db", [Entry("n", "n_total", value=1)])),
            str(write(directory / "gauge_max_1.db", [Entry("n", "n", value=5)])),
            str(write(directory / "gauge_max_2.db", [Entry("n", "n", value=7)])),
        ]
        for order in (files, files[::-1]):
            expected = stock.MultiProcessCollector.merge(of_one_type(order, directory / "copies"))
            assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)
        (metric,) = multiprom.MultiProcessCollector.merge(files)
        assert metric.type == "counter"

    def test_histogram_and_gauge(self, directory: Path) -> None:
        """A `pid` label of the user's own keeps two series apart that end with equal labels."""
        gauges = [Entry("n", "n", {"x": ""}), Entry("n", "n", {"x": "", "pid": "own"})]
        files = [
            str(write(directory / "histogram_1.db", [Entry("n", "n", value=1)])),
            str(write(directory / "gauge_all_2.db", gauges)),
        ]
        for order in (files, files[::-1]):
            expected = stock.MultiProcessCollector.merge(of_one_type(order, directory / "copies"))
            assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)

    def test_histogram_and_summary(self, directory: Path) -> None:
        histogram = [
            Entry("n", "n_bucket", {"le": "1.0"}, value=1),
            Entry("n", "n_sum", value=1),
        ]
        summary = [Entry("n", "n_count", value=3), Entry("n", "n_sum", value=2)]
        files = [
            str(write(directory / "histogram_1.db", histogram)),
            str(write(directory / "summary_1.db", summary)),
        ]
        for order in (files, files[::-1]):
            expected = stock.MultiProcessCollector.merge(of_one_type(order, directory / "copies"))
            assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)

    @pytest.mark.parametrize("first", ["gauge_max", "gauge_mostrecent", "gauge_all", "counter"])
    @pytest.mark.parametrize("second", ["gauge_all", "gauge_liveall", "gauge_sum", "histogram"])
    def test_are_no_matter_to_other_families(
        self, directory: Path, first: str, second: str
    ) -> None:
        """They once cost the other families of the same file their samples."""
        entries = [Entry(name, name, value=1, timestamp=2) for name in ("a", "shared")]
        files = [str(write(directory / f"{first}_1.db", entries))]
        entries = [Entry(name, name, value=3, timestamp=1) for name in ("b", "shared", "c")]
        files.append(str(write(directory / f"{second}_2.db", entries)))
        for order in (files, files[::-1]):
            expected = stock.MultiProcessCollector.merge(of_one_type(order, directory / "copies"))
            merged = multiprom.MultiProcessCollector.merge(order)
            assert plain(merged) == plain(expected)
            found = {metric.name: len(metric.samples) for metric in merged}
            assert (found["a"], found["b"], found["c"]) == (1, 1, 1)

    @pytest.mark.parametrize("mode", ["mostrecent", "livemostrecent"])
    def test_only_gauges_have_timestamps(self, directory: Path, mode: str) -> None:
        """A counter's file has other things in the place of a timestamp."""
        files = [
            str(write(directory / f"gauge_{mode}_1.db", [Entry("n", "n", value=1, timestamp=0)])),
            str(write(directory / "counter_1.db", [Entry("n", "n", value=2, timestamp=5)])),
        ]
        for order in (files, files[::-1]):
            expected = stock.MultiProcessCollector.merge(of_one_type(order, directory / "copies"))
            assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)


def test_one_key_twice_in_a_file(directory: Path) -> None:
    """It happens where two value classes share a file; prometheus_client adds them."""
    path = write(directory / "counter_1.db", [counter(1), counter(2)])
    found = samples(multiprom.MultiProcessCollector.merge([str(path)]))
    assert found == {("requests_total", ()): 3}


# Sums that overflow, as prometheus_client adds them: in the order of files, also in many files.

INFINITY = float("inf")


@pytest.mark.parametrize(
    "values",
    [
        [1e308, 1e308, -1e308],
        [1e308, -1e308, 1e308],
        [INFINITY, 1, -1e308],
        [INFINITY, -INFINITY, 1],
        [-1e308, -1e308, 1],
    ],
)
@pytest.mark.parametrize("files_between", [0, 100])
def test_overflow(directory: Path, values: list[float], files_between: int) -> None:
    """With many files several threads read parts of them; the result is the same."""
    spread: list[float] = []
    for value in values:
        spread += [value] + [0.0] * files_between
    files = [
        str(write(directory / f"counter_{number:04}.db", [counter(value)], size=0))
        for number, value in enumerate(spread)
    ]
    expected = stock.MultiProcessCollector.merge(files)
    assert plain(multiprom.MultiProcessCollector.merge(files)) == plain(expected)


# Many files are read by several threads, which changes nothing.

PROCESSES = 150
MODES = (*stock.GAUGE_MODES, stock.EXTRA_MODE)
PREFIXES = ("counter", "summary", "histogram", *[f"gauge_{mode}" for mode in MODES])


def entries(prefix: str, number: int) -> list[Entry]:
    """Return what a process wrote: a common series, one of some, one of its own, all mixed."""
    value = number % 7 / 4
    time = float(number * 37 % PROCESSES)
    family = f"in_{prefix}"
    if prefix == "histogram":
        buckets = [
            Entry(family, f"{family}_bucket", {"le": bound, "code": code}, value=value)
            for code in ("200", str(number))
            for bound in (("1.0", "+Inf") if number < 140 else ("1.0", "2.5", "+Inf"))
        ]
        return [*buckets, Entry(family, f"{family}_sum", {"code": "200"}, value=value)]
    codes = ["200", str(number % 11), str(number)]
    if number == PROCESSES - 1:
        codes.insert(0, "only the last")
    shared = [Entry(family, family, {"code": c}, value=value, timestamp=time) for c in codes]
    late = [Entry(f"late_{prefix}_{number}", "late", value=value)] if number % 50 == 49 else []
    return late + shared[:: -1 if number % 2 else 1]


@pytest.fixture
def files(directory: Path) -> list[str]:
    for prefix in PREFIXES:
        for number in range(PROCESSES):
            path = directory / f"{prefix}_{number}.db"
            write(path, entries(prefix, number), size=0)
    return stock.files_of(directory)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_of_one_kind(files: list[str], prefix: str) -> None:
    chosen = [file for file in files if f"/{prefix}_" in file]
    assert len(chosen) == PROCESSES
    for accumulate in (True, False):
        expected = stock.MultiProcessCollector.merge(chosen, accumulate=accumulate)
        merged = multiprom.MultiProcessCollector.merge(chosen, accumulate=accumulate)
        found = plain(merged, shows_times=accumulate)
        assert found == plain(expected, shows_times=accumulate)


def test_of_all_kinds_in_any_order(files: list[str]) -> None:
    for order in (files, files[::-1], files[1::2] + files[::2]):
        expected = stock.MultiProcessCollector.merge(order)
        assert plain(multiprom.MultiProcessCollector.merge(order)) == plain(expected)


@pytest.mark.usefixtures("files")
def test_as_text() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    multiprom.MultiProcessCollector(ours)
    stock.SortedCollector(theirs)
    own = stock.texts(ours, multiprom.generate_latest, openmetrics_latest)
    assert own == stock.texts(theirs)
