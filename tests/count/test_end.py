"""What counts at the very end of an interpreter counts, and nothing is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

# After all modules are gone, builtins is cleared.
AT_THE_END = """
import builtins, os
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
counter, gauge = Counter("n", "Help"), Gauge("g", "Help", multiprocess_mode="sum")
counter.inc()

class AtTheEnd:
    def __del__(self, inc=counter.inc, set=gauge.set, make=values.ValueClass):
        inc()
        set(2)
        make("summary", "s", "s", (), (), "Help").inc(3)

builtins.at_the_end = AtTheEnd()
"""


@pytest.mark.parametrize(
    "before", ["", "values.ValueClass.close_all_files()", "os.fork() and os.wait()"]
)
def test_of_the_process(before: str, directory: Path) -> None:
    assert run(AT_THE_END + before, PROMETHEUS_MULTIPROC_DIR=directory) == ""
    found: dict[str, list[float]] = {}
    for file in directory.glob("*.db"):
        for name, value in values_of(file).items():
            found.setdefault(name, []).append(value)
    if before.startswith("os.fork"):
        assert {name: sorted(values) for name, values in found.items()} == {
            "n_total": [1.0, 2.0],
            "g": [2.0, 2.0],
            "s": [3.0, 3.0],
        }
    else:
        assert found == {"n_total": [2.0], "g": [2.0], "s": [3.0]}


def test_of_a_sub_interpreter_that_nobody_ends(directory: Path) -> None:
    """The process ends it, and does not wait for ever."""
    printed = run(
        """
        import warnings
        # Python 3.14 says that it is left.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        left = interpreters.create()
        interpreters.run_string(left, "import multiprom.values")
        print("ends")
        """,
        PROMETHEUS_MULTIPROC_DIR=directory,
    )
    assert printed == "ends\n"
