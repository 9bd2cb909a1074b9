"""A file that is gone between listing and opening is as if it had never been listed (425).

prometheus_client forgives it for `live*` gauges alone; but directories are cleaned, workers are
recycled, and containers stop, all while somebody scrapes.
"""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support.equality import samples
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from pathlib import Path

PREFIXES = ["counter", "histogram", "summary", "gauge_all", "gauge_liveall", "gauge_mostrecent"]


def here(directory: Path) -> list[str]:
    return [
        report.path for report in multiprom.left_out() if report.path.startswith(str(directory))
    ]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_of_any_type(directory: Path, prefix: str) -> None:
    kept = write(directory / "counter_1.db", [counter(3)])
    gone = directory / f"{prefix}_2.db"
    for names in ([kept, gone], [gone, kept], [gone, kept, gone]):
        merged = multiprom.MultiProcessCollector.merge(names)
        assert samples(merged) == {("requests_total", ()): 3}
        assert list(multiprom.MultiProcessCollector._read_metrics(names)) == ["requests"]
    # Nothing was wrong, so there is nothing to report.
    assert here(directory) == []


def test_all_of_them(directory: Path) -> None:
    gone = [directory / f"{prefix}_2.db" for prefix in PREFIXES]
    assert list(multiprom.MultiProcessCollector.merge(gone)) == []


def test_with_its_directory(directory: Path) -> None:
    registry = CollectorRegistry()
    collector = multiprom.MultiProcessCollector(registry)
    write(directory / "counter_1.db", [counter(3)])
    assert samples(collector.collect()) == {("requests_total", ()): 3}
    shutil.rmtree(directory)
    assert list(collector.collect()) == []
    assert multiprom.generate_latest(registry) == b""
    assert openmetrics_latest(registry) == b"# EOF\n"
    directory.mkdir()
    write(directory / "counter_1.db", [counter(4)])
    assert samples(collector.collect()) == {("requests_total", ()): 4}


def test_while_scraping(directory: Path) -> None:
    """Files come and go as fast as they can; what stays is in every scrape."""
    for pid in range(20):
        write(directory / f"counter_{pid}.db", [counter(1, "kept")])
    stop = threading.Event()
    failures: list[BaseException] = []

    def churn() -> None:
        try:
            while not stop.is_set():
                for prefix in PREFIXES:
                    path = directory / f"{prefix}_x.db"
                    write(path, [Entry("passing", "passing", {"p": prefix}, value=1, timestamp=1)])
                for prefix in PREFIXES:
                    (directory / f"{prefix}_x.db").unlink()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        registry = CollectorRegistry()
        collector = multiprom.MultiProcessCollector(registry)
        seen = set()
        for _ in range(300):
            found = samples(collector.collect())
            assert found["kept_total", ()] == 20
            seen.add(len(found))
            assert b"\nkept_total 20.0\n" in multiprom.generate_latest(registry)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    # Or nothing ever came and went in time, and this was no test.
    assert len(seen) > 1
