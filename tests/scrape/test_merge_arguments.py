"""merge() takes what prometheus_client's takes, and gives back what may be changed and kept."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from support import stock
from support.equality import plain, samples
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def files(directory: Path) -> list[Path]:
    return [write(directory / f"counter_{pid}.db", [counter(pid)]) for pid in (1, 2, 4)]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        lambda files: (str(file) for file in files),
        lambda files: filter(None, map(str, files)),
        lambda files: dict.fromkeys(map(str, files)),
        lambda files: [str(file) for file in files],
    ],
    ids=["list of Path", "tuple", "iterator", "generator", "filter", "dict", "list of str"],
)
def test_any_iterable(files: list[Path], make: Callable[[list[Path]], Any]) -> None:
    assert samples(multiprom.MultiProcessCollector.merge(make(files))) == {
        ("requests_total", ()): 7
    }
    read = multiprom.MultiProcessCollector._read_metrics(make(files))
    assert len(read["requests"].samples) == 3


def test_no_files() -> None:
    assert list(multiprom.MultiProcessCollector.merge([])) == []


def test_called_on_an_instance(files: list[Path], directory: Path) -> None:
    collector = multiprom.MultiProcessCollector(None, directory)
    expected = {("requests_total", ()): 1}
    assert samples(collector.merge(files[:1])) == expected
    assert samples(collector.merge(files=files[:1], accumulate=True)) == expected
    assert samples(collector.merge(files[:1], False)) == expected


def test_relative_names(
    files: list[Path], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    names = [file.name for file in files]
    assert samples(multiprom.MultiProcessCollector.merge(names)) == {("requests_total", ()): 7}


def test_a_file_named_twice_counts_twice(files: list[Path]) -> None:
    assert samples(multiprom.MultiProcessCollector.merge([files[0], files[0]])) == {
        ("requests_total", ()): 2
    }


@pytest.mark.parametrize("accumulate", [1, 0, "yes", "", None, [0]])
def test_accumulate_is_true_or_false_as_anything_in_python(
    directory: Path, accumulate: Any
) -> None:
    bounds = ("1.0", "+Inf")
    buckets = [Entry("took", "took_bucket", {"le": bound}, value=1) for bound in bounds]
    files = [str(write(directory / "histogram_1.db", buckets))]
    expected = stock.MultiProcessCollector.merge(files, accumulate=accumulate)
    merged = multiprom.MultiProcessCollector.merge(files, accumulate=accumulate)
    assert plain(merged) == plain(expected)


@pytest.mark.parametrize("make", [str, Path, os.fsencode])
def test_one_path_is_no_list_of_paths(files: list[Path], make: Callable[[Path], Any]) -> None:
    """Each character of a string would be taken for a name, and all of them for missing files."""
    for function in (
        multiprom.MultiProcessCollector.merge,
        multiprom.MultiProcessCollector._read_metrics,
    ):
        with pytest.raises(TypeError, match="several paths"):
            function(make(files[0]))


@pytest.mark.parametrize("file", [None, 1, ["counter_1.db"]])
def test_what_is_no_path(file: Any) -> None:
    with pytest.raises(TypeError):
        multiprom.MultiProcessCollector.merge([file])


def test_no_path_has_a_nul(files: list[Path]) -> None:
    """As with open(): no such file can exist, so it cannot have vanished either."""
    for function in (
        multiprom.MultiProcessCollector.merge,
        multiprom.MultiProcessCollector._read_metrics,
    ):
        with pytest.raises(ValueError, match=r"(?i)\bnul\b"):
            function([*files, f"{files[0].parent}\0/counter_1.db"])


class TestResult:
    def test_real_classes(self, files: list[Path]) -> None:
        (metric,) = multiprom.MultiProcessCollector.merge(files)
        assert type(metric) is Metric
        assert type(metric.samples) is list
        assert type(metric.samples[0]) is Sample
        assert type(metric.samples[0].labels) is dict
        assert type(metric.samples[0].value) is float
        assert metric.unit == ""

    def test_may_be_looked_at_twice(self, files: list[Path]) -> None:
        merged = multiprom.MultiProcessCollector.merge(files)
        assert len(merged) == 1
        assert plain(merged) == plain(merged)

    def test_samples_may_be_changed(self, files: list[Path]) -> None:
        (metric,) = multiprom.MultiProcessCollector.merge(files)
        metric.samples.append(Sample("requests_total", {"more": "1"}, 5.0))
        metric.add_sample("requests_total", {"more": "2"}, 6.0)
        metric.samples[0].labels["changed"] = "yes"
        assert len(metric.samples) == 3
        # Nothing of it is remembered.
        (again,) = multiprom.MultiProcessCollector.merge(files)
        assert [sample.labels for sample in again.samples] == [{}]

    def test_no_two_samples_share_their_labels(self, directory: Path) -> None:
        entries = [
            Entry("took", "took_count", {"code": "200"}, value=1),
            Entry("took", "took_sum", {"code": "200"}, value=1),
        ]
        path = write(directory / "summary_1.db", entries)
        (metric,) = multiprom.MultiProcessCollector.merge([path])
        metric.samples[0].labels["changed"] = "yes"
        assert "changed" not in metric.samples[1].labels

    def test_pickle_and_copy(self, files: list[Path], directory: Path) -> None:
        files.append(
            write(directory / "gauge_all_1.db", [Entry("jobs", "jobs", {"é": "\n"}, "", 1)])
        )
        merged = list(multiprom.MultiProcessCollector.merge(files))
        assert plain(pickle.loads(pickle.dumps(merged))) == plain(merged)
        assert plain(copy.deepcopy(merged)) == plain(merged)
        assert pickle.loads(pickle.dumps(merged)) == merged
