"""The value class keeps the contract of prometheus_client's, and its names are found where its are.

Projects call the class and the values directly, past the metrics.
"""

from __future__ import annotations

import os
import sys
import types
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import multiprom
import prometheus_client
import pytest
from prometheus_client import mmap_dict, values
from support import ours, stock
from support.files import Entry, read

if TYPE_CHECKING:
    from pathlib import Path


def entries(directory: Path, name: str = "counter_w.db") -> list[Entry]:
    return list(read((directory / name).read_bytes()))


def test_what_a_class_and_a_value_have(made: Any) -> None:
    value = ours.value(made)
    assert made._multiprocess is True
    assert value._multiprocess is True
    assert value.get() == 0.0
    assert value.inc(2) is None
    assert value.get() == 2.0
    assert value.set(7) is None
    assert type(value.get()) is float
    assert value.get() == 7.0
    assert value.set_exemplar(object()) is None
    assert value.get_exemplar() is None


def test_all_arguments_by_name_and_those_that_nobody_knows(made: Any, directory: Path) -> None:
    made(
        typ="gauge",
        metric_name="jobs",
        name="jobs",
        labelnames=["kind"],
        labelvalues=["slow"],
        help_text="Help",
        multiprocess_mode="max",
        of_a_later_version=1,
    ).set(3, timestamp=17.5)
    assert entries(directory, "gauge_max_w.db") == [
        Entry("jobs", "jobs", {"kind": "slow"}, value=3, timestamp=17.5)
    ]


def test_each_call_makes_a_new_class() -> None:
    assert multiprom.MultiProcessValue() is not multiprom.MultiProcessValue()


def test_the_identifier_is_the_pid_by_default(directory: Path) -> None:
    with ours.value_class() as made:
        ours.value(made).inc(1)
    assert [file.name for file in directory.glob("*.db")] == [f"counter_{os.getpid()}.db"]


def test_set_writes_the_timestamp_and_inc_takes_it_away(made: Any, directory: Path) -> None:
    value = ours.value(made)
    for timestamp, expected in ((12.5, 12.5), (None, 0.0), (3, 3.0), (0, 0.0)):
        value.set(5, timestamp=timestamp)
        assert [entry.timestamp for entry in entries(directory)] == [expected]
    value.set(5, 9.5)
    value.inc(1)
    assert [(entry.value, entry.timestamp) for entry in entries(directory)] == [(6.0, 0.0)]


@pytest.mark.parametrize(
    "amount",
    [True, 3, -2, 1.25, Fraction(1, 2), 2**64],
    ids=lambda amount: type(amount).__name__ + str(amount),
)
def test_numbers_of_any_kind(amount: Any, made: Any, directory: Path) -> None:
    value = ours.value(made)
    value.set(amount)
    value.inc(amount)
    assert value.get() == 2 * float(amount)
    assert [entry.value for entry in entries(directory)] == [2 * float(amount)]


def test_set_takes_what_has_a_float_in_it(made: Any) -> None:
    value = ours.value(made)
    value.set(Decimal("1.5"))
    assert value.get() == 1.5


@pytest.mark.parametrize("method", ["inc", "set"])
@pytest.mark.parametrize("amount", ["x", "1", None, b"1", [], object(), 1j], ids=repr)
def test_what_is_no_number_is_refused(method: str, amount: Any, made: Any, directory: Path) -> None:
    value = ours.value(made)
    value.inc(4)
    with pytest.raises(TypeError):
        getattr(value, method)(amount)
    assert value.get() == 4.0
    assert [entry.value for entry in entries(directory)] == [4.0]


@pytest.mark.parametrize("method", ["inc", "set"])
def test_an_integer_that_no_float_can_hold_is_refused(method: str, made: Any) -> None:
    value = ours.value(made)
    value.inc(4)
    with pytest.raises(OverflowError):
        getattr(value, method)(10**400)
    assert value.get() == 4.0


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)], ids=len)
def test_too_few_and_too_many_arguments(arguments: tuple[Any, ...], made: Any) -> None:
    value = ours.value(made)
    for method in (value.inc, value.set):
        with pytest.raises(TypeError):
            method(*arguments)
    with pytest.raises(TypeError):
        made(*arguments)
    assert value.get() == 0.0


def test_series_of_the_same_key_are_one(made: Any, directory: Path) -> None:
    """A metric that is made twice, as by tests that clear a registry."""
    first, second = ours.value(made), ours.value(made)
    first.inc(1)
    second.inc(2)
    assert [entry.value for entry in entries(directory)] == [3.0]
    assert (first.get(), second.get()) == (3.0, 3.0)


def test_metrics_of_prometheus_client_count_in_it(made: Any, directory: Path) -> None:
    with stock.counting(directory, made):
        histogram = prometheus_client.Histogram("took", "Help", buckets=[1, 2], registry=None)
        for seconds in (0.5, 1.5, 1.5, 9):
            histogram.observe(seconds)
        # Projects reset their metrics in this way.
        histogram._sum.set(0)
        histogram._buckets[0].set(0)
    assert {
        (entry.sample, entry.labels.get("le")): entry.value
        for entry in entries(directory, "histogram_w.db")
    } == {
        ("took_sum", None): 0.0,
        ("took_bucket", "1.0"): 0.0,
        ("took_bucket", "2.0"): 2.0,
        ("took_bucket", "+Inf"): 1.0,
    }


class TestNames:
    def test_get_value_class_goes_by_the_variable(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert multiprom.get_value_class()._multiprocess is True
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
        assert multiprom.get_value_class() is values.MutexValue
        monkeypatch.setenv("prometheus_multiproc_dir", str(directory))
        assert multiprom.get_value_class()._multiprocess is True

    def test_install_puts_both_behind_the_names_of_prometheus_client(self) -> None:
        theirs = values.get_value_class
        multiprom.install()
        assert values.MultiProcessValue is multiprom.MultiProcessValue
        assert values.get_value_class is multiprom.get_value_class
        multiprom.uninstall()
        assert values.MultiProcessValue is stock.MultiProcessValue
        assert values.get_value_class is theirs

    def test_install_reaches_who_had_them_before(self) -> None:
        module: Any = types.ModuleType("an_application")
        source = "from prometheus_client.values import MultiProcessValue, get_value_class"
        exec(source, module.__dict__)
        sys.modules[module.__name__] = module
        try:
            multiprom.install()
            assert module.MultiProcessValue is multiprom.MultiProcessValue
            assert module.get_value_class is multiprom.get_value_class
            multiprom.uninstall()
            assert module.MultiProcessValue is stock.MultiProcessValue
        finally:
            del sys.modules[module.__name__]

    def test_install_makes_the_class_of_new_metrics_ours(self, directory: Path) -> None:
        assert values.ValueClass is values.MutexValue
        multiprom.install()
        assert values.ValueClass._multiprocess is True
        prometheus_client.Counter("n", "Help", registry=None).inc(3)
        [file] = directory.glob("*.db")
        assert [entry.value for entry in entries(directory, file.name)] == [3.0]
        # Again makes no second class.
        value_class = values.ValueClass
        multiprom.install()
        assert values.ValueClass is value_class
        multiprom.uninstall()
        assert values.ValueClass is values.MutexValue

    def test_without_the_variable_new_metrics_count_in_memory(self) -> None:
        multiprom.install()
        assert not values.ValueClass._multiprocess
        assert values.get_value_class() is values.MutexValue


class TestLowerCaseVariable:
    def test_it_works_with_a_warning_and_is_copied(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
        monkeypatch.setenv("prometheus_multiproc_dir", str(directory))
        with ours.value_class(lambda: "w") as made:
            assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
            with pytest.warns(DeprecationWarning, match="^prometheus_multiproc_dir variable has"):
                value = ours.value(made)
            assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(directory)
            # Once it is copied there is nothing more to say.
            ours.value(made, "more").inc(1)
            value.inc(1)
        assert {entry.sample: entry.value for entry in entries(directory)} == {
            "requests_total": 1.0,
            "more": 1.0,
        }

    def test_the_other_one_goes_first(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path / "elsewhere"))
        with ours.value_class(lambda: "w") as made:
            ours.value(made).inc(1)
        assert [entry.value for entry in entries(directory)] == [1.0]


class TestKey:
    def test_mmap_key_is_looked_up_when_a_value_is_made(
        self, made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A project replaces it, to keep a label out of the files."""
        ours.value(made, "before", "x").inc(1)
        theirs = mmap_dict.mmap_key

        def without_labels(
            metric_name: str, name: str, _names: Any, _values: Any, help_text: str
        ) -> str:
            return theirs(metric_name, name, ["é"], [name + "字"], help_text)

        monkeypatch.setattr(values, "mmap_key", without_labels)
        ours.value(made, "during", "x").inc(2)
        monkeypatch.undo()
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
        ours.value(made, "after", "x").inc(4)
        assert [(entry.labels, entry.value) for entry in entries(directory)] == [
            ({"label": "x"}, 1.0),
            ({"é": "during字"}, 2.0),
            ({"label": "x"}, 4.0),
        ]

    def test_what_mmap_key_raises_is_for_the_caller(
        self, made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(*_: Any) -> str:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(values, "mmap_key", failing)
            with pytest.raises(ZeroDivisionError):
                ours.value(made)
        ours.value(made).inc(1)
        assert [entry.value for entry in entries(directory)] == [1.0]

    def test_label_values_that_json_cannot_hold_are_refused(self, made: Any) -> None:
        with pytest.raises(TypeError):
            made("counter", "n", "n", ("label",), (object(),), "Help")

    @pytest.mark.parametrize("help_text", ["", "é字💥", 'quote " \\ \n', "x" * 100_000])
    def test_any_text(self, help_text: str, made: Any, directory: Path) -> None:
        made("counter", "n", "n_total", (), (), help_text).inc(1)
        assert entries(directory) == [Entry("n", "n_total", help=help_text, value=1)]
