"""Value objects and value classes, as applications, their tests and their tools handle them.

Several classes at once: of different identifiers, of the same, in several directories.
"""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path
from typing import Any
from unittest import mock

import multiprom
import pytest
from prometheus_client import values
from support import ours
from support.equality import samples
from support.files import values_of
from support.interpreters import run

pytestmark = pytest.mark.usefixtures("directory")


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


def test_an_identifier_that_always_changes(directory: Path) -> None:
    """The files that it has left do not take ever more descriptors and mappings, and all count."""
    numbers = itertools.count()
    with ours.value_class(lambda: f"job{next(numbers)}") as made:
        value = ours.value(made)
        for _ in range(200):
            value.inc(1)
        mappings = Path("/proc/self/maps").read_text().splitlines()
        assert sum(str(directory) in line for line in mappings) <= 65
        descriptors = [file for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        assert sum(str(directory) in os.path.realpath(file) for file in descriptors) <= 65
    assert samples(multiprom.MultiProcessCollector(None, directory).collect()) == {
        ("requests_total", ()): 200.0
    }


def test_methods_of_one_value_can_be_patched() -> None:
    with ours.value_class() as made:
        value = ours.value(made)
        with mock.patch.object(value, "inc") as inc:
            value.inc(3)
        inc.assert_called_once_with(3)
        assert value.get() == 0.0


@pytest.mark.parametrize("key", ["", "x" * (16 << 20) + "x"], ids=["empty", "too long"])
def test_a_key_that_no_reader_believes_is_refused(
    key: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hide what stands behind it in the file."""
    with ours.value_class(lambda: "a") as made:
        with monkeypatch.context() as patched:
            patched.setattr(values, "mmap_key", lambda *_: key)
            with pytest.raises(ValueError, match=f"of {len(key)} bytes cannot be kept"):
                ours.value(made)
        ours.value(made).inc(2)
        collector: Any = multiprom.MultiProcessCollector(None)
        assert [s.value for m in collector.collect() for s in m.samples] == [2.0]
    assert [path.name for path in directory.glob("*.db")] == ["counter_a.db"]


def test_an_interrupt_while_logging_is_none_of_ours(directory: Path) -> None:
    script = """
import logging, os, shutil, sys
import multiprom

class Interrupting(logging.Handler):
    def emit(self, record):
        raise KeyboardInterrupt

logging.getLogger("multiprom").addHandler(Interrupting())
multiprom.install()
from prometheus_client import Counter
try:
    Counter("n", "Help").inc()
except KeyboardInterrupt:
    print("interrupted")
"""
    missing = directory / "missing"
    assert run(script, PROMETHEUS_MULTIPROC_DIR=missing) == "interrupted\n"


def test_a_closed_value_of_the_parent_is_at_zero_in_the_child(directory: Path) -> None:
    script = """
import os
import multiprom
multiprom.install()
from prometheus_client import Counter, values
counter = Counter("n", "Help")
counter.inc(5)
values.ValueClass.close_all_files()
pid = os.fork()
if pid == 0:
    print(counter._value.get(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(counter._value.get())
"""
    assert run(script, PROMETHEUS_MULTIPROC_DIR=directory) == "0.0\n5.0\n"


def test_a_subclass_may_call_the_constructor_of_its_base(made: Any, directory: Path) -> None:
    class Named(made):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.label = arguments[2]

    value = Named("counter", "n", "n_total", (), (), help_text="Help")
    value.inc(2)
    assert (value.label, value.get()) == ("n_total", 2.0)
    assert values_of(directory / "counter_w.db") == {"n_total": 2.0}


def test_an_empty_variable_names_no_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not the working directory, where prometheus_client makes its files then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    with ours.value_class(lambda: "empty") as made:
        counter = ours.value(made)
        counter.inc(2)
        assert counter.get() == 2
        assert list(tmp_path.glob("*.db")) == []
