"""The collector is prometheus_client's own to everybody who makes or asks for one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support import stock
from support.equality import samples
from support.files import counter, write

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = r"^env PROMETHEUS_MULTIPROC_DIR is not set or not a directory$"


class Registrar:
    """Registers; nothing more is asked of a registry."""

    def __init__(self) -> None:
        self.registered: list[Any] = []

    def register(self, collector: Any) -> None:
        self.registered.append(collector)


def test_is_a_subclass() -> None:
    assert issubclass(multiprom.MultiProcessCollector, stock.MultiProcessCollector)


class TestPath:
    def test_from_the_variable(self, directory: Path) -> None:
        assert multiprom.MultiProcessCollector(None)._path == str(directory)

    def test_argument_wins(self, directory: Path, tmp_path: Path) -> None:
        write(directory / "counter_1.db", [counter(1)])
        collector = multiprom.MultiProcessCollector(None, path=str(tmp_path))
        assert collector._path == str(tmp_path)
        assert list(collector.collect()) == []

    def test_may_be_a_path(self, directory: Path) -> None:
        write(directory / "counter_1.db", [counter(1)])
        collector = multiprom.MultiProcessCollector(None, directory)
        assert collector._path == directory
        assert samples(collector.collect()) == {("requests_total", ()): 1}

    def test_attribute_decides_at_each_scrape(self, directory: Path, tmp_path: Path) -> None:
        """Test suites of projects point it elsewhere."""
        other = tmp_path / "other"
        other.mkdir()
        write(other / "counter_1.db", [counter(5)])
        collector = multiprom.MultiProcessCollector(None, directory)
        collector._path = str(other)
        assert samples(collector.collect()) == {("requests_total", ()): 5}

    @pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "{a}", "a b", "é字", "!", "a\\b"])
    def test_is_taken_literally(self, tmp_path: Path, name: str) -> None:
        for sibling in ("a1", "a", "ab", name):
            (tmp_path / sibling).mkdir(exist_ok=True)
            write(tmp_path / sibling / "counter_1.db", [counter(1, f"in_{len(sibling)}")])
        write(tmp_path / name / "counter_1.db", [counter(7)])
        collector = multiprom.MultiProcessCollector(None, tmp_path / name)
        assert samples(collector.collect()) == {("requests_total", ()): 7}

    def test_relative(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(directory / "counter_1.db", [counter(1)])
        monkeypatch.chdir(directory.parent)
        collector = multiprom.MultiProcessCollector(None, directory.name)
        assert samples(collector.collect()) == {("requests_total", ()): 1}


class TestNoPath:
    def test_unset(self) -> None:
        with pytest.raises(ValueError, match=MESSAGE):
            multiprom.MultiProcessCollector(None)

    def test_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As good as unset, for whoever asks for the directory."""
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
        with pytest.raises(ValueError, match=MESSAGE):
            multiprom.MultiProcessCollector(None)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
        with pytest.raises(ValueError, match=MESSAGE):
            multiprom.MultiProcessCollector(None, "")
        for ask in (multiprom.compact, lambda: multiprom.mark_process_dead(1)):
            with pytest.raises(ValueError, match=r"^env PROMETHEUS_MULTIPROC_DIR is not set$"):
                ask()

    def test_missing_or_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """prometheus_client's message, and which path it is."""
        (tmp_path / "file").touch()
        for name in ("missing", "file"):
            path = tmp_path / name
            message = f"{MESSAGE[:-1]}: {re.escape(repr(str(path)))}$"
            with pytest.raises(ValueError, match=message):
                multiprom.MultiProcessCollector(None, path)
            monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(path))
            with pytest.raises(ValueError, match=message):
                multiprom.MultiProcessCollector(None)

    def test_nothing_is_registered(self) -> None:
        registrar = Registrar()
        with pytest.raises(ValueError, match=MESSAGE):
            multiprom.MultiProcessCollector(registrar)
        assert registrar.registered == []


class TestLowerCaseVariable:
    def test_still_works_and_is_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
        # So that monkeypatch takes away what the collector is going to set.
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        with pytest.warns(DeprecationWarning, match="prometheus_multiproc_dir"):
            collector = multiprom.MultiProcessCollector(None)
        assert collector._path == str(tmp_path)
        assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(tmp_path)

    def test_an_empty_upper_case_one_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
        with pytest.warns(DeprecationWarning, match="prometheus_multiproc_dir"):
            collector = multiprom.MultiProcessCollector(None)
        assert collector._path == str(tmp_path)

    def test_yields_to_the_upper_case_one(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
        assert multiprom.MultiProcessCollector(None)._path == str(directory)

    def test_is_not_looked_at_if_there_is_an_argument(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("prometheus_multiproc_dir", "/nowhere")
        multiprom.MultiProcessCollector(None, tmp_path)
        assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


class TestRegistry:
    def test_none(self, directory: Path) -> None:
        write(directory / "counter_1.db", [counter(1)])
        assert samples(multiprom.MultiProcessCollector(None).collect()) == {
            ("requests_total", ()): 1
        }

    def test_any_object_that_registers(self, directory: Path) -> None:
        registrar = Registrar()
        collector = multiprom.MultiProcessCollector(registrar, directory)
        assert registrar.registered == [collector]

    def test_by_keyword(self, directory: Path) -> None:
        registrar = Registrar()
        collector = multiprom.MultiProcessCollector(registry=registrar, path=directory)
        assert registrar.registered == [collector]

    def test_is_found_by_name_and_labels(self, directory: Path) -> None:
        write(directory / "counter_1.db", [counter(4, code="200"), counter(1, code="500")])
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry)
        assert registry.get_sample_value("requests_total", {"code": "200"}) == 4
        assert registry.get_sample_value("requests_total", {"code": "404"}) is None

    def test_can_be_unregistered(self, directory: Path) -> None:
        write(directory / "counter_1.db", [counter(4)])
        registry = CollectorRegistry()
        collector = multiprom.MultiProcessCollector(registry)
        registry.unregister(collector)
        assert multiprom.generate_latest(registry) == b""

    def test_does_not_describe(self) -> None:
        """A registry that describes on its own would scrape the directory at registration."""
        assert not hasattr(multiprom.MultiProcessCollector, "describe")

    def test_auto_describe_collects_as_with_prometheus_client(self, directory: Path) -> None:
        write(directory / "counter_1.db", [counter(4)])
        ours, theirs = (CollectorRegistry(auto_describe=True) for _ in range(2))
        multiprom.MultiProcessCollector(ours)
        stock.MultiProcessCollector(theirs)
        assert sorted(ours._names_to_collectors) == sorted(theirs._names_to_collectors)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            multiprom.MultiProcessCollector(ours)


def test_each_scrape_reads_anew(directory: Path) -> None:
    collector = multiprom.MultiProcessCollector(None)
    assert list(collector.collect()) == []
    for total in (1, 2, 5):
        write(directory / "counter_1.db", [counter(total)])
        assert samples(collector.collect()) == {("requests_total", ()): total}
    (directory / "counter_1.db").unlink()
    assert list(collector.collect()) == []


def test_what_a_scrape_gave_is_the_callers(directory: Path) -> None:
    """Some collectors multiply, rename or add to what they got."""
    write(directory / "counter_1.db", [counter(2)])
    collector = multiprom.MultiProcessCollector(None)
    for metric in collector.collect():
        metric.samples.clear()
        metric.documentation = "changed"
    (metric,) = collector.collect()
    assert (metric.documentation, len(metric.samples)) == ("Help", 1)
