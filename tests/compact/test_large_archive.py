"""An archive that takes long to rewrite is left to scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from multiprom import compact, compaction
from support import files

if TYPE_CHECKING:
    from pathlib import Path


def dead(directory: Path, pid: int) -> Path:
    path = files.write(directory / f"counter_{pid}.db", [files.counter(1, path=50 * "/")])
    with path.open("r+b") as file:
        file.seek(4)
        file.write(files.MAGIC)
    return path


@pytest.mark.usefixtures("automatic")
def test_only_a_scrape_rewrites_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_BYTES_AT_ONCE", 200)
    monkeypatch.setattr(compaction, "_SWEEP_SECONDS", 0.0)
    first = dead(tmp_path, 1)
    done, is_complete = compaction.fold(str(tmp_path), [1])
    assert done.files_folded == 1, "the archive and the file are small"
    assert not first.exists()
    second = dead(tmp_path, 2)
    done, is_complete = compaction.fold(str(tmp_path), [2])
    assert (done.files_folded, [left.path for left in done.left_alone]) == (0, [str(second)])
    assert not is_complete
    compaction.sweep(str(tmp_path))
    assert second.exists()
    compaction.sweep(str(tmp_path), scrapes=True)
    assert not second.exists()
    dead(tmp_path, 3)
    assert compact(tmp_path).files_folded == 1
