"""Files that stay until somebody does something are worth one warning, whoever tries to fold."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from multiprom import compaction
from support.files import counter, write_ours

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("automatic")


def test_each_reason_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compaction, "_SWEEP_SECONDS", 0.0)
    for pid, mode in [(1, 0o600), (2, 0o640), (3, 0o660)]:
        write_ours(tmp_path / f"counter_{pid}.db", counter(1)).chmod(mode)
    path = str(tmp_path)
    with caplog.at_level(logging.DEBUG):
        compaction.sweep(path)
        compaction.sweep(path)
        compaction.fold(path, [2])
    expected = (
        f"files of dead processes stay and count in {path!r}, such as 'counter_2.db': "
        "not the same users may read it and the archive"
    )
    assert [record.getMessage() for record in caplog.records] == [expected]
    assert caplog.records[0].levelno == logging.WARNING


def test_what_every_scrape_reports_is_not_told_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_ours(tmp_path / "counter_1.db", counter(1))
    path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.DEBUG):
        compaction.sweep(str(tmp_path))
    assert caplog.records == []
    assert path.exists()
