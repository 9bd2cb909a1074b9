"""Whoever overrides or patches a part of the collector gets what it says, also as text.

The fast way from files to text must not pass by what a subclass or a test put in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.samples import Sample
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


@pytest.fixture(autouse=True)
def _files(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1)])
    write(directory / "counter_2.db", [counter(2)])


def scraped(collector_class: Any) -> str:
    registry = CollectorRegistry()
    collector_class(registry)
    # The two formats must agree on what they see.
    lines = multiprom.generate_latest(registry).decode().splitlines()
    values = [line for line in lines if not line.startswith("#")]
    open_lines = openmetrics_latest(registry).decode().splitlines()
    assert [line for line in open_lines if not line.startswith("#")] == values
    return "\n".join(values)


def replacement() -> list[Metric]:
    return [GaugeMetricFamily("patched", "Help", value=9)]


def test_nothing_overridden() -> None:
    class Collector(multiprom.MultiProcessCollector):
        """Only its name is new."""

    assert scraped(Collector) == "requests_total 3.0"


class TestSubclass:
    def test_collect_adds_samples(self) -> None:
        class Collector(multiprom.MultiProcessCollector):
            def collect(self) -> Any:
                for metric in super().collect():
                    metric.samples.append(Sample("requests_total", {"added": "1"}, 7.0))
                    yield metric

        assert scraped(Collector) == 'requests_total 3.0\nrequests_total{added="1"} 7.0'

    def test_collect_adds_families(self) -> None:
        class Collector(multiprom.MultiProcessCollector):
            def collect(self) -> Any:
                return [*super().collect(), *replacement()]

        assert scraped(Collector) == "requests_total 3.0\npatched 9.0"

    def test_merge_chooses_files(self) -> None:
        class Collector(multiprom.MultiProcessCollector):
            @staticmethod
            def merge(files: Any, accumulate: bool = True) -> Any:
                chosen = [file for file in files if str(file).endswith("_2.db")]
                return multiprom.MultiProcessCollector.merge(chosen, accumulate=accumulate)

        assert scraped(Collector) == "requests_total 2.0"

    def test_read_metrics(self) -> None:
        class Collector(multiprom.MultiProcessCollector):
            @staticmethod
            def _read_metrics(files: Any) -> Any:
                return multiprom.MultiProcessCollector._read_metrics(sorted(files)[:1])

        assert scraped(Collector) == "requests_total 1.0"

    def test_accumulate_metrics(self) -> None:
        class Collector(multiprom.MultiProcessCollector):
            @staticmethod
            def _accumulate_metrics(metrics: Any, accumulate: bool) -> Any:
                assert accumulate
                assert [len(metric.samples) for metric in metrics.values()] == [2]
                return replacement()

        assert scraped(Collector) == "patched 9.0"

    def test_collect_uses_the_halves_of_merge(self) -> None:

        class Collector(multiprom.MultiProcessCollector):
            def collect(self) -> Any:
                files = [self._path + "/counter_1.db"]
                return self._accumulate_metrics(self._read_metrics(files), accumulate=True)

        assert scraped(Collector) == "requests_total 1.0"

    def test_two_levels(self) -> None:
        class Base(multiprom.MultiProcessCollector):
            def collect(self) -> Any:
                return replacement()

        class Collector(Base):
            """Overrides nothing by itself."""

        assert scraped(Collector) == "patched 9.0"


class TestPatch:
    def test_collect(self) -> None:
        collect = mock.Mock(side_effect=lambda: iter(replacement()))
        with mock.patch.object(multiprom.MultiProcessCollector, "collect", collect):
            assert scraped(multiprom.MultiProcessCollector) == "patched 9.0"
        assert scraped(multiprom.MultiProcessCollector) == "requests_total 3.0"

    def test_collect_of_an_instance(self) -> None:
        registry = CollectorRegistry()
        collector = multiprom.MultiProcessCollector(registry)
        with mock.patch.object(collector, "collect", replacement):
            assert b"\npatched 9.0\n" in multiprom.generate_latest(registry)
        assert b"\nrequests_total 3.0\n" in multiprom.generate_latest(registry)

    def test_merge(self) -> None:
        merge = mock.Mock(side_effect=lambda *_, **__: iter(replacement()))
        with mock.patch.object(multiprom.MultiProcessCollector, "merge", merge):
            assert scraped(multiprom.MultiProcessCollector) == "patched 9.0"
        (files,), _ = merge.call_args
        assert [str(file).rsplit("/", 1)[1] for file in files] == ["counter_1.db", "counter_2.db"]
        assert scraped(multiprom.MultiProcessCollector) == "requests_total 3.0"

    def test_merge_of_an_instance(self) -> None:
        registry = CollectorRegistry()
        collector = multiprom.MultiProcessCollector(registry)
        with mock.patch.object(collector, "merge", return_value=replacement()):
            assert b"\npatched 9.0\n" in multiprom.generate_latest(registry)

    def test_read_metrics(self) -> None:
        read = multiprom.MultiProcessCollector._read_metrics
        with mock.patch.object(
            multiprom.MultiProcessCollector,
            "_read_metrics",
            staticmethod(lambda files: read(list(files)[:1])),
        ):
            assert scraped(multiprom.MultiProcessCollector) == "requests_total 1.0"
            (metric,) = multiprom.MultiProcessCollector(None).collect()
            assert [sample.value for sample in metric.samples] == [1]
        assert scraped(multiprom.MultiProcessCollector) == "requests_total 3.0"

    def test_accumulate_metrics(self) -> None:
        with mock.patch.object(
            multiprom.MultiProcessCollector,
            "_accumulate_metrics",
            staticmethod(lambda metrics, accumulate: replacement()),  # noqa: ARG005
        ):
            assert scraped(multiprom.MultiProcessCollector) == "patched 9.0"
            (metric,) = multiprom.MultiProcessCollector.merge([])
            assert metric.name == "patched"
        assert scraped(multiprom.MultiProcessCollector) == "requests_total 3.0"


class Wrapper:
    """Renames what another collector gives, as projects do that serve two directories."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._inner = multiprom.MultiProcessCollector(None)
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        for metric in self._inner.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "wrapped": "yes"})
                for sample in metric.samples
            ]
            yield metric


def test_a_collector_that_wraps_one() -> None:
    assert scraped(Wrapper) == 'requests_total{wrapped="yes"} 3.0'


def test_a_mode_of_ones_own(directory: Path) -> None:
    """A subclass can give a mode that nobody else knows a meaning."""
    for pid, value in ((1, 4.0), (2, 10.0), (3, 6.0)):
        write(directory / f"gauge_median_{pid}.db", [Entry("jobs", "jobs", value=value)])

    class Collector(multiprom.MultiProcessCollector):
        @staticmethod
        def _accumulate_metrics(metrics: Any, accumulate: bool) -> Any:
            gauge = metrics.pop("jobs")
            assert gauge._multiprocess_mode == "median"
            values = sorted(sample.value for sample in gauge.samples)
            merged = multiprom.MultiProcessCollector._accumulate_metrics(metrics, accumulate)
            return [*merged, GaugeMetricFamily("jobs", "Help", value=values[len(values) // 2])]

        def collect(self) -> Any:
            files = [self._path + f"/gauge_median_{pid}.db" for pid in (1, 2, 3)]
            return self._accumulate_metrics(self._read_metrics(files), accumulate=True)

    assert scraped(Collector) == "jobs 6.0"


def test_who_overrides_merge_is_given_the_files_that_count(directory: Path) -> None:
    """The same as are read where nothing is overridden: no links, no foreign names, in order."""
    (directory / "counter_3.db").symlink_to("counter_1.db")
    (directory / "gauge_sum_4.db").mkdir()
    write(directory / "cache_5.db", [counter(100)])
    write(directory / ".counter_6.db", [counter(100)])
    write(directory / "counter_10.db", [counter(10)])
    given: list[str] = []

    class Collector(multiprom.MultiProcessCollector):
        @staticmethod
        def merge(files: Iterable[Any], accumulate: bool = True) -> list[Metric]:
            paths = list(files)
            given[:] = paths
            return multiprom.MultiProcessCollector.merge(paths, accumulate)

    assert scraped(Collector) == scraped(multiprom.MultiProcessCollector) == "requests_total 13.0"
    assert given == [str(directory / f"counter_{pid}.db") for pid in (1, 10, 2)]
