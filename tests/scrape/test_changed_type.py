"""A metric that changes its type between two versions of a service, on one directory.

Prometheus refuses a text with samples that do not belong to the type of their family.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import multiprom
import pytest
from multiprom import reports
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from support.files import Entry, write, write_ours

ENTRIES = {
    "counter": [Entry("x", "x_total", value=3)],
    "gauge_all": [Entry("x", "x", value=5)],
    "gauge_sum": [Entry("x", "x", value=7)],
    "summary": [Entry("x", "x_count", value=2), Entry("x", "x_sum", value=9)],
    "histogram": [
        Entry("x", "x_sum", value=1),
        Entry("x", "x_bucket", {"le": "1.0"}, value=1),
        Entry("x", "x_bucket", {"le": "+Inf"}, value=0),
    ],
}


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(ENTRIES, 2)))
def test_text_that_parsers_take(old: str, new: str, folds: bool, directory: Path) -> None:
    write_ours(directory / f"{old}_1.db", *ENTRIES[old])
    if folds:
        multiprom.compact()
    write_ours(directory / f"{new}_2.db", *ENTRIES[new])
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    text = multiprom.generate_latest(registry).decode()
    assert 'pid="compacted"' not in text
    families = list(text_string_to_metric_families(text))
    assert len(families) == 1
    allowed = {
        "counter": {"x_total"},
        "gauge": {"x"},
        "summary": {"x_count", "x_sum"},
        "histogram": {"x_bucket", "x_count", "x_sum"},
    }[families[0].type]
    assert {sample.name for sample in families[0].samples} <= allowed
    (metric,) = multiprom.MultiProcessCollector(None).collect()
    assert metric.type == families[0].type
    (read,) = multiprom.MultiProcessCollector._read_metrics(sorted(directory.glob("*.db"))).values()
    assert read.type == metric.type


def items(directory: Path) -> list[multiprom.LeftOut]:
    return [item for item in multiprom.left_out() if Path(item.path).parent == directory]


def test_the_type_of_the_living_and_not_of_the_archive(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the archive comes first by name. What is left out is said once, for all files."""
    # Another test may have had the same metric, of which this process would say nothing again.
    monkeypatch.setattr(reports, "_logged", {})
    write_ours(directory / "counter_1.db", Entry("a", "a_total", value=3))
    write_ours(directory / "counter_2.db", Entry("b", "b_total", value=3))
    multiprom.compact()
    for name in ("new", "new2"):
        write_ours(
            directory / f"summary_{name}.db",
            Entry("a", "a_count", value=2),
            Entry("c", "c_count", value=1),
        )
    write(directory / "counter_3.db", [Entry("b", "b_total", value=4)])
    for _ in range(2):
        merged = multiprom.MultiProcessCollector.merge(sorted(directory.glob("*.db")))
        assert {
            (metric.name, metric.type): [sample.value for sample in metric.samples]
            for metric in merged
        } == {("a", "summary"): [4], ("b", "counter"): [7], ("c", "summary"): [2]}
    (item,) = items(directory)
    assert (Path(item.path).name, item.offset, item.entries) == ("counter_compacted.db", 8, 1)
    (message,) = [record.getMessage() for record in caplog.records if "type" in record.message]
    assert "'a'" in message
    assert "counter in this file, summary in scrapes" in message
    (directory / "counter_compacted.db").unlink()
    multiprom.MultiProcessCollector(None).collect()
    assert items(directory) == []


def test_is_said_once_for_all_files(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(directory / "counter_0.db", [Entry("said", "said_total", value=1)])
    for number in range(3):
        write(directory / f"summary_{number}.db", [Entry("said", "said_sum", value=1)])
    multiprom.MultiProcessCollector(None).collect()
    assert len(items(directory)) == 3
    assert len([record for record in caplog.records if "'said'" in record.message]) == 1


def test_a_mode_that_names_processes(directory: Path) -> None:
    """What an archive holds is of several processes, and 'compacted' is none."""
    for pid in (1, 2):
        write_ours(directory / f"gauge_sum_{pid}.db", Entry("x", "x", value=5), Entry("y", "y"))
    multiprom.compact()
    # A mode that nobody knows shows a value for each process. It comes behind the archive by name.
    write(directory / "gauge_unknown_3.db", [Entry("x", "x", value=7)])
    for collect in (
        multiprom.MultiProcessCollector(None).collect,
        lambda: multiprom.MultiProcessCollector.merge(sorted(directory.glob("*.db"))),
    ):
        found = {metric.name: metric.samples for metric in collect()}
        assert [(sample.labels, sample.value) for sample in found["x"]] == [({"pid": "3"}, 7)]
        assert [(sample.labels, sample.value) for sample in found["y"]] == [({}, 0)]
        (item,) = items(directory)
        assert (Path(item.path).name, item.entries) == ("gauge_sum_compacted.db", 1)
    (directory / "gauge_unknown_3.db").write_bytes(b"")
    found = {
        metric.name: metric.samples for metric in multiprom.MultiProcessCollector(None).collect()
    }
    assert [(sample.labels, sample.value) for sample in found["x"]] == [({}, 10)]
    assert items(directory) == []
