"""What the hooks do with a server and a worker, whatever these and the logs may be like."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import prometheus_client.multiprocess
import pytest
from support.hooks import Failing, messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARK = "prometheus_client.multiprocess.mark_process_dead"


@pytest.fixture(params=["child_exit", "dirty_worker_exit"])
def hook(request: pytest.FixtureRequest, directory: Path) -> Callable[[Any, Any], None]:
    assert directory.is_dir()
    found: Callable[[Any, Any], None] = getattr(
        importlib.import_module("multiprom.gunicorn"), request.param
    )
    return found


def test_it_takes_exactly_two_positional_parameters(hook: Callable[[Any, Any], None]) -> None:
    parameters = inspect.signature(hook).parameters.values()
    assert [parameter.kind for parameter in parameters] == [
        inspect.Parameter.POSITIONAL_OR_KEYWORD
    ] * 2


def test_success_is_one_line_in_the_log_of_the_server(hook: Callable[[Any, Any], None]) -> None:
    server = SimpleNamespace(log=mock.Mock())
    hook(server, SimpleNamespace(pid=4711))
    assert messages(server.log) == [("info", "marked worker 4711 as dead")]


@pytest.mark.parametrize("server", [object(), SimpleNamespace(log=None)], ids=["no log", "None"])
def test_a_server_without_a_log_has_it_from_multiprom(
    hook: Callable[[Any, Any], None], server: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook(server, SimpleNamespace(pid=4711))
    with mock.patch(MARK, side_effect=OSError("disk on fire")):
        hook(server, SimpleNamespace(pid=4712))
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("multiprom", "INFO"),
        ("multiprom", "WARNING"),
    ]
    assert caplog.messages[0] == "marked worker 4711 as dead"
    assert caplog.messages[1].startswith("could not mark worker 4712 as dead: ")
    assert "disk on fire" in caplog.messages[1]


@pytest.mark.parametrize(
    "server",
    [Failing(), SimpleNamespace(log=Failing())],
    ids=["failing server", "failing log"],
)
@pytest.mark.parametrize("effect", [None, OSError("disk on fire")], ids=["marked", "not marked"])
def test_a_failing_log_is_nothing_to_die_of(
    hook: Callable[[Any, Any], None], server: object, effect: Exception | None
) -> None:
    with mock.patch(MARK, side_effect=effect) as mark:
        hook(server, SimpleNamespace(pid=4711))
    mark.assert_called_once_with(4711)


@pytest.mark.parametrize("worker", [object(), None, Failing()], ids=["no pid", "None", "failing"])
def test_a_worker_without_a_pid_is_one_warning(
    hook: Callable[[Any, Any], None], worker: object
) -> None:
    server = SimpleNamespace(log=mock.Mock())
    with mock.patch(MARK) as mark:
        hook(server, worker)
    mark.assert_not_called()
    [(level, text)] = messages(server.log)
    assert level == "warning"
    assert text.startswith("could not mark worker of unknown pid as dead: ")


def test_prometheus_client_may_be_imported_anew(
    hook: Callable[[Any, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = SimpleNamespace(mark_process_dead=mock.Mock())
    monkeypatch.setitem(sys.modules, "prometheus_client.multiprocess", replaced)
    hook(SimpleNamespace(log=mock.Mock()), SimpleNamespace(pid=4711))
    replaced.mark_process_dead.assert_called_once_with(4711)


def test_it_imports_what_is_not_there(
    hook: Callable[[Any, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Put back afterwards, as an attribute too: patches in other tests go by that.
    monkeypatch.setattr(prometheus_client, "multiprocess", prometheus_client.multiprocess)
    monkeypatch.delitem(sys.modules, "prometheus_client.multiprocess")
    server = SimpleNamespace(log=mock.Mock())
    hook(server, SimpleNamespace(pid=4711))
    assert messages(server.log) == [("info", "marked worker 4711 as dead")]
