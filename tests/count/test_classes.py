"""Several value classes at once: of different identifiers, of the same, in several directories."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import multiprom
from support import ours
from support.equality import samples
from support.files import values_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_classes_of_different_identifiers(directory: Path) -> None:
    with ours.value_class(lambda: "a") as a, ours.value_class(lambda: "b") as b:
        first, second = ours.value(a), ours.value(b)
        for _ in range(10):
            first.inc(1)
            second.inc(10)
        assert (first.get(), second.get()) == (10.0, 100.0)
        a.close_all_files()
        second.inc(1)
    assert values_of(directory / "counter_a.db") == {"requests_total": 10.0}
    assert values_of(directory / "counter_b.db") == {"requests_total": 101.0}


def test_classes_of_one_identifier_share_the_files(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """prometheus_client maps the file twice, and each class overwrites what the other wrote."""
    with ours.value_class(lambda: "w") as one, ours.value_class(lambda: "w") as other:
        shared, also_shared = ours.value(one), ours.value(other)
        only_one, only_other = ours.value(one, "one"), ours.value(other, "other")
        for _ in range(10):
            for value in (shared, also_shared, only_one, only_other):
                value.inc(1)
        # Long enough for the file to grow under both.
        for number in range(2000):
            ours.value((one, other)[number % 2], "n", "x" * 100 + str(number)).inc(1)
        for value in (shared, also_shared, only_one, only_other):
            value.inc(1)
        assert (shared.get(), also_shared.get()) == (22.0, 22.0)
        assert (only_one.get(), only_other.get()) == (11.0, 11.0)
    assert [file.name for file in directory.glob("*.db")] == ["counter_w.db"]
    found = values_of(directory / "counter_w.db")
    assert {name: found.pop(name) for name in ("requests_total", "one", "other")} == {
        "requests_total": 22.0,
        "one": 11.0,
        "other": 11.0,
    }
    assert set(found.values()) == {1.0}
    assert len(found) == 2000
    # Nobody else holds the file: there is nothing to warn of.
    assert caplog.messages == []


def test_one_of_them_closes_its_files(directory: Path) -> None:
    with ours.value_class(lambda: "w") as one, ours.value_class(lambda: "w") as other:
        first, second = ours.value(one), ours.value(other)
        for _ in range(3):
            first.inc(1)
            second.inc(1)
            one.close_all_files()
    metrics = multiprom.MultiProcessCollector(None, str(directory)).collect()
    assert samples(metrics) == {("requests_total", ()): 6.0}


def test_a_directory_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of one name in another directory is another file."""
    directories = [tmp_path / "1", tmp_path / "2"]
    with ours.value_class(lambda: "w") as first, ours.value_class(lambda: "w") as second:
        values = []
        for directory, made in zip(directories, (first, second), strict=True):
            directory.mkdir()
            monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
            values.append(ours.value(made))
        for value, amount in zip(values, (1, 2), strict=True):
            value.inc(amount)
    assert [values_of(directory / "counter_w.db") for directory in directories] == [
        {"requests_total": 1.0},
        {"requests_total": 2.0},
    ]


def test_an_identifier_is_any_string_or_number(directory: Path) -> None:
    identifiers: list[int | str] = [7, "a_b", "8d2f2c4e-uuid", "worker 1", "*[x]?", "é字", "-1"]
    for identifier in identifiers:
        with ours.value_class(functools.partial(str, identifier)) as made:
            ours.value(made).inc(1)
    names = {file.name for file in directory.glob("*.db")}
    assert names == {f"counter_{identifier}.db" for identifier in identifiers}


def test_the_identifier_is_asked_on_each_operation(directory: Path) -> None:
    """uWSGI's worker_id is not known before the fork, and there may be no fork at all."""
    identifier = "a"
    asked = 0

    def identify() -> str:
        nonlocal asked
        asked += 1
        return identifier

    with ours.value_class(identify) as made:
        value, idle = ours.value(made), ours.value(made, "idle")
        for identifier in ("a", "b", "c"):  # noqa: B007
            before = asked
            value.inc(1)
            assert asked > before
            assert value.get() == 1.0
            assert idle.get() == 0.0
    assert {file.name: values_of(file) for file in directory.glob("*.db")} == {
        f"counter_{name}.db": {"requests_total": 1.0, "idle": 0.0} for name in "abc"
    }
