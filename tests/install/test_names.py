"""install() puts multiprom behind prometheus_client's names; uninstall() takes it away again."""

from __future__ import annotations

import functools
import sys
import types
from typing import TYPE_CHECKING, Any, cast

import multiprom
import multiprom.exposition
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, exposition, multiprocess, values
from prometheus_client.openmetrics import exposition as openmetrics
from support import stock
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Each name, and the modules of prometheus_client that have it.
NAMES = [
    (multiprocess, "MultiProcessCollector", "MultiProcessCollector"),
    (multiprocess, "mark_process_dead", "mark_process_dead"),
    (prometheus_client, "generate_latest", "generate_latest"),
    (exposition, "generate_latest", "generate_latest"),
    (openmetrics, "generate_latest", "openmetrics_latest"),
]
# Applications and servers: the names may stay as long as what they serve is ours.
APPS = ["make_wsgi_app", "make_asgi_app", "start_http_server"]

ORIGINALS = {(module.__name__, name): getattr(module, name) for module, name, _ in NAMES}


@pytest.fixture
def consumer() -> Iterator[Any]:
    """A module that took its names from prometheus_client before anybody called install()."""
    module: Any = types.ModuleType("an_application")
    source = """
from prometheus_client import generate_latest, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client import generate_latest as renamed
unrelated = len
"""
    exec(source, module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize(("module", "name", "ours"), NAMES)
def test_names_of_prometheus_client(module: Any, name: str, ours: str) -> None:
    multiprom.install()
    home = multiprom if ours in multiprom.__all__ else multiprom.exposition
    assert getattr(module, name) is getattr(home, ours)
    multiprom.uninstall()
    assert getattr(module, name) is ORIGINALS[module.__name__, name]


def test_names_imported_before(consumer: Any) -> None:
    before = dict(vars(consumer))
    multiprom.install()
    assert consumer.generate_latest is multiprom.generate_latest
    assert consumer.renamed is multiprom.generate_latest
    assert consumer.in_openmetrics is multiprom.exposition.openmetrics_latest
    assert consumer.MultiProcessCollector is multiprom.MultiProcessCollector
    assert consumer.mark_process_dead is multiprom.mark_process_dead
    assert consumer.unrelated is len
    multiprom.uninstall()
    assert dict(vars(consumer)) == before


@pytest.mark.parametrize("source", ["prometheus_client", "multiprom"])
def test_names_imported_while_installed(source: str) -> None:
    """Nobody can tell whose they were meant to be: they stay ours, and work."""
    multiprom.install()
    module: Any = types.ModuleType("a_late_application")
    sys.modules[module.__name__] = module
    try:
        exec(f"from {source} import generate_latest", module.__dict__)
        multiprom.uninstall()
        assert module.generate_latest is multiprom.generate_latest
        assert module.generate_latest(CollectorRegistry()) == b""
    finally:
        del sys.modules[module.__name__]


def test_modules_that_refuse_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly(types.ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    module = ReadOnly("a_read_only_module")
    theirs = exposition.generate_latest
    module.__dict__["generate_latest"] = theirs
    module.__dict__[cast("str", 1)] = theirs
    monkeypatch.setitem(sys.modules, module.__name__, module)
    multiprom.install()
    assert module.__dict__["generate_latest"] is theirs
    assert prometheus_client.generate_latest is multiprom.generate_latest
    multiprom.uninstall()


def test_multiprom_keeps_its_own_names() -> None:
    collector = multiprom.MultiProcessCollector
    text = multiprom.generate_latest
    multiprom.install()
    assert multiprom.MultiProcessCollector is collector
    assert multiprom.generate_latest is text
    multiprom.uninstall()
    assert multiprom.MultiProcessCollector is collector
    assert multiprom.generate_latest is text


def test_twice_is_once(consumer: Any) -> None:
    before = dict(vars(consumer))
    for _ in range(3):
        multiprom.install()
    assert multiprocess.MultiProcessCollector is multiprom.MultiProcessCollector
    for _ in range(3):
        multiprom.uninstall()
    assert multiprocess.MultiProcessCollector is stock.MultiProcessCollector
    assert dict(vars(consumer)) == before


def test_uninstall_alone_does_nothing() -> None:
    multiprom.uninstall()
    assert exposition.generate_latest is stock.generate_latest


def test_again_and_again() -> None:
    for _ in range(3):
        multiprom.install()
        assert exposition.generate_latest is multiprom.generate_latest
        multiprom.uninstall()
        assert exposition.generate_latest is stock.generate_latest


def test_what_somebody_else_replaced_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """uninstall() gives back what install() took, not what another patch put there since."""
    # What is there now comes back when the test ends.
    monkeypatch.setattr(exposition, "generate_latest", stock.generate_latest)
    multiprom.install()

    def another(registry: Any) -> bytes:
        raise NotImplementedError

    monkeypatch.setattr(exposition, "generate_latest", another)
    multiprom.uninstall()
    assert exposition.generate_latest is another


def test_a_wrapper_around_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """functools.wraps makes it look like ours, but it is somebody else's."""
    # What is there now comes back when the test ends.
    monkeypatch.setattr(exposition, "generate_latest", stock.generate_latest)
    multiprom.install()

    @functools.wraps(multiprom.generate_latest)
    def traced(*arguments: Any) -> bytes:
        return multiprom.generate_latest(*arguments)

    monkeypatch.setattr(exposition, "generate_latest", traced)
    multiprom.uninstall()
    assert exposition.generate_latest is traced


def test_modules_with_strange_attributes_are_no_obstacle() -> None:
    """Lazy modules raise, import or warn when they are looked at."""

    class Strange(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            msg = f"must not be asked for {name}"
            raise RuntimeError(msg)

    sys.modules["strange"] = Strange("strange")
    sys.modules["none"] = None  # type: ignore[assignment]
    sys.modules["no_module"] = object()  # type: ignore[assignment]
    try:
        multiprom.install()
        multiprom.uninstall()
    finally:
        for name in ("strange", "none", "no_module"):
            del sys.modules[name]


class TestVariableSetLate:
    """Of a program that imports prometheus_client before it knows its directory."""

    def test_metrics_count_in_files_from_then_on(self, directory: Path) -> None:
        assert not values.ValueClass._multiprocess
        multiprom.install()
        assert values.ValueClass._multiprocess
        with stock.closing():
            prometheus_client.Counter("n", "Help", registry=None).inc()
        assert len(list(directory.glob("counter_*.db"))) == 1
        # Installing again makes no second class, with a second file of the same name.
        value_class = values.ValueClass
        multiprom.install()
        assert values.ValueClass is value_class
        multiprom.uninstall()
        assert not values.ValueClass._multiprocess

    def test_without_variable_metrics_count_in_memory(self) -> None:
        multiprom.install()
        assert not values.ValueClass._multiprocess
        counter = prometheus_client.Counter("n", "Help", registry=None)
        assert isinstance(counter._value, values.MutexValue)
        multiprom.uninstall()
        assert values.ValueClass is values.MutexValue

    @pytest.mark.usefixtures("directory")
    def test_a_class_of_the_programs_own_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Own(values.MutexValue):
            """Not one of prometheus_client's."""

        monkeypatch.setattr(values, "ValueClass", Own)
        multiprom.install()
        assert values.ValueClass is Own
        multiprom.uninstall()
        assert values.ValueClass is Own
        # What is there now comes back when the test ends.
        monkeypatch.setattr(values, "ValueClass", values.MutexValue)
        multiprom.install()
        monkeypatch.setattr(values, "ValueClass", Own)
        multiprom.uninstall()
        assert values.ValueClass is Own

    def test_an_identifier_of_the_programs_own_stays(self, directory: Path) -> None:
        with stock.process(directory, "worker-1"):
            own = values.ValueClass
            multiprom.install()
            assert values.ValueClass is not own
            prometheus_client.Counter("n", "Help", registry=None).inc()
            assert [path.name for path in directory.glob("*.db")] == ["counter_worker-1.db"]
            multiprom.uninstall()
            assert values.ValueClass is own


@pytest.fixture
def files(directory: Path) -> Path:
    write(directory / "counter_1.db", [counter(1)])
    # Its pid comes out whole with multiprom only.
    write(directory / "gauge_all_a_1.db", [Entry("jobs", "jobs", value=2)])
    return directory


LINE = b'\njobs{pid="a_1"} 2.0\n'


@pytest.mark.usefixtures("files")
class TestInForce:
    def test_in_an_unchanged_application(self, consumer: Any) -> None:
        """What the README of prometheus_client tells everybody to write."""
        multiprom.install()
        registry = CollectorRegistry()
        consumer.MultiProcessCollector(registry)
        assert LINE in consumer.generate_latest(registry)
        assert LINE in consumer.in_openmetrics(registry)

    def test_in_the_applications_of_prometheus_client(self) -> None:
        from support.clients import asgi, wsgi

        multiprom.install()
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        assert LINE in wsgi(prometheus_client.make_wsgi_app(registry)).body
        assert LINE in asgi(prometheus_client.make_asgi_app(registry)).body

    def test_collectors_made_before(self) -> None:
        """They stay prometheus_client's, and are printed as they are."""
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        multiprom.install()
        assert b"\nrequests_total 1.0\n" in prometheus_client.generate_latest(registry)

    def test_applications_made_before(self, consumer: Any) -> None:
        from support.clients import wsgi

        registry = CollectorRegistry()
        app = consumer.make_wsgi_app(registry)
        multiprom.install()
        multiprocess.MultiProcessCollector(registry)
        assert LINE in wsgi(app).body

    def test_mark_process_dead(self, files: Path) -> None:
        (files / "gauge_liveall_*.db").touch()
        (files / "gauge_liveall_1.db").touch()
        multiprom.install()
        multiprocess.mark_process_dead("*")
        assert sorted(file.name for file in files.glob("gauge_live*")) == ["gauge_liveall_1.db"]

    def test_subclasses_made_before_and_after(self) -> None:
        class Before(multiprocess.MultiProcessCollector):
            """Of prometheus_client's class for good."""

        multiprom.install()

        class After(multiprocess.MultiProcessCollector):
            """Of ours."""

        for collector in (Before, After):
            registry = CollectorRegistry()
            collector(registry)
            text = prometheus_client.generate_latest(registry)
            assert b"\nrequests_total 1.0\n" in text
        assert LINE in text


def test_live_modes_stay_importable() -> None:
    multiprom.install()
    from prometheus_client.multiprocess import _LIVE_GAUGE_MULTIPROCESS_MODES

    assert {mode for mode in stock.GAUGE_MODES if mode.startswith("live")} == (
        _LIVE_GAUGE_MULTIPROCESS_MODES
    )


@pytest.mark.parametrize("name", APPS)
def test_the_same_signature_everywhere(name: str) -> None:
    multiprom.install()
    assert callable(getattr(prometheus_client, name))
    multiprom.uninstall()
    assert getattr(prometheus_client, name) is getattr(exposition, name)
