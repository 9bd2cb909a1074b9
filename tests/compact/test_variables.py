"""What the variables of the environment may say, in the usual words, and what of other words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import multiprom
import pytest
from multiprom import _core
from support.files import Entry, write_ours

if TYPE_CHECKING:
    from pathlib import Path

OFF = ("0", "off", "false", "no", "OFF", "False", " no ")
ON = ("1", "on", "true", "yes", "ON", "True", " yes ")


@pytest.fixture(autouse=True)
def _nothing_swept() -> None:
    _core.reset_compaction()


@pytest.mark.parametrize(
    ("value", "is_on"),
    [*((value, False) for value in OFF), *((value, True) for value in (*ON, "", " "))],
)
def test_compaction_is_on_unless_it_is_turned_off(
    value: str,
    is_on: bool,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MULTIPROM_COMPACTION", value)
    path = write_ours(directory / "counter_1.db", Entry("c", "c", value=1))
    list(multiprom.MultiProcessCollector(None, directory).collect())
    assert path.exists() is not is_on
    assert caplog.records == []


@pytest.mark.parametrize(
    ("value", "drops"),
    [*((value, False) for value in (*OFF, "", " ")), *((value, True) for value in ON)],
)
def test_all_gauges_stay_unless_the_user_says_so(
    value: str,
    drops: bool,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MULTIPROM_DROP_ALL", value)
    write_ours(directory / "gauge_all_1.db", Entry("g", "g", value=1))
    assert multiprom.compact(directory).files_deleted == drops
    assert caplog.records == []


@pytest.mark.parametrize(
    ("variable", "default"), [("MULTIPROM_COMPACTION", "on"), ("MULTIPROM_DROP_ALL", "off")]
)
def test_any_other_word_is_one_warning(
    variable: str,
    default: str,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _core.reset_compaction(sweep_seconds=0)
    monkeypatch.setenv("MULTIPROM_COMPACTION", "on")
    monkeypatch.setenv(variable, "none")
    gauge = write_ours(directory / "gauge_all_1.db", Entry("g", "g", value=1))
    counter = write_ours(directory / "counter_1.db", Entry("c", "c", value=1))
    for _ in range(3):
        list(multiprom.MultiProcessCollector(None, directory).collect())
    # As if it were not set.
    assert (gauge.exists(), counter.exists()) == (True, False)
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("multiprom", logging.WARNING)
    ]
    understood = "off, 0, false, no, on, 1, true and yes are"
    text = f'{variable} is "none", which is not understood: {understood}; it stays {default}'
    assert caplog.messages == [text]
    # Another value is another mistake.
    monkeypatch.setenv(variable, "disabled")
    list(multiprom.MultiProcessCollector(None, directory).collect())
    assert len(caplog.messages) == 2
