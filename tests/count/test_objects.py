"""Value objects as tests and tools of applications handle them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import multiprom
import pytest
from prometheus_client import values
from support import ours
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("directory")


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
