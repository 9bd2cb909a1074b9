"""compact() takes pids as they are meant, and refuses what would name others, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support.files import counter, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def files(directory: Path) -> list[Path]:
    """Give files of prometheus_client's, which say nothing of their process."""
    return [write(directory / f"counter_{pid}.db", [counter(1)]) for pid in (1, 2, 3)]


@pytest.mark.parametrize(
    "make",
    [list, tuple, set, iter, lambda pids: dict.fromkeys(map(str, pids)), lambda _: range(1, 3)],
    ids=["list", "tuple", "set", "iterator", "dict of str", "range"],
)
def test_any_iterable_of_pids(files: list[Path], make: Callable[[list[int]], Any]) -> None:
    assert multiprom.compact(pids=make([1, 2])).files_folded == 2
    assert [file.exists() for file in files] == [False, False, True]


@pytest.mark.parametrize("pids", ["123", b"123", ""])
def test_one_text_is_no_list_of_pids(files: list[Path], pids: Any) -> None:
    """Each character would be taken for a process, which may well live."""
    with pytest.raises(TypeError, match="pids must be several process identifiers, not one: "):
        multiprom.compact(pids=pids)
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("pid", [b"1", 1.0, None, True, ["1"]])
def test_what_names_no_process(files: list[Path], pid: Any) -> None:
    """It would match no file, and nothing would tell."""
    with pytest.raises(TypeError, match="a process identifier must be an int or a str, not: "):
        multiprom.compact(pids=[2, pid])
    assert all(file.exists() for file in files)
