"""Whatever is done with values, in whichever order, leaves the bytes that prometheus_client leaves.

The identifiers of a class may change between any two operations, as by a fork: then all values
appear at zero in files of the new name.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from support import ours, stock
from support.strategies import EXACT, TEXT, TIMESTAMPS

if TYPE_CHECKING:
    from collections.abc import Callable

# Those that a new process under an old name continues, in both libraries.
KINDS = [("counter", ""), ("histogram", ""), ("summary", ""), ("gauge", "all"), ("gauge", "max")]

# Each value is known by its number, modulo the number of values.
VALUES = st.integers(0, 5)
OPERATIONS = st.one_of(
    st.tuples(st.just("make"), st.sampled_from(KINDS), TEXT, TEXT),
    st.tuples(st.just("inc"), VALUES, EXACT),
    st.tuples(st.just("set"), VALUES, EXACT, TIMESTAMPS | st.none()),
    st.tuples(st.just("get"), VALUES),
    st.tuples(st.just("become"), st.sampled_from(["a", "b", "c"])),
)


class Player:
    """A process that does what it is told with the values of one class."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._identifier = "a"
        self._class = make(lambda: self._identifier)
        self._values: list[Any] = []
        self.close = getattr(self._class, "close_all_files", lambda: None)

    def play(self, operation: tuple[Any, ...]) -> object:
        match operation:
            case ("make", (typ, mode), name, label):
                # One key for each value: what several values of one key do differs.
                labels = (label, str(len(self._values)))
                arguments = (typ, name, name, ("label", "n"), labels, "Help", mode)
                self._values.append(self._class(*arguments))
            case ("become", identifier):
                self._identifier = identifier
            case (method, number, *arguments) if self._values:
                chosen = self._values[number % len(self._values)]
                return repr(getattr(chosen, method)(*arguments) or 0.0).removesuffix(".0")
        return None


@given(operations=st.lists(OPERATIONS, min_size=1, max_size=30))
def test_same_bytes_and_answers(operations: list[tuple[Any, ...]]) -> None:
    import multiprom

    with tempfile.TemporaryDirectory() as parent:
        directories: list[Path] = []
        answers = []
        for make in (multiprom.MultiProcessValue, stock.MultiProcessValue):
            directories.append(Path(parent, str(len(directories))))
            directories[-1].mkdir()
            with stock.closing(), stock.counting(directories[-1], None):
                player = Player(make)
                answers.append([player.play(operation) for operation in operations])
                player.close()
        assert answers[0] == answers[1]
        ours.assert_same_but_for_the_magic(*directories)
