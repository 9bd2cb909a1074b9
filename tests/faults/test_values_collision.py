"""Two processes of one name in one directory: containers that share a volume.

Both are their pid namespace's number 1, or 7. prometheus_client maps the file in both, and each
writes over the other's entries.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import multiprom
from support import stock
from support.equality import samples
from support.files import values_of
from support.interpreters import command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Does as it is told, by lines of Python.
SCRIPT = """
import sys
from support.warned import messages
import multiprom
made = multiprom.MultiProcessValue(lambda: 7)
counter = made("counter", "n", "n_total", (), (), "Help")
gauges = {mode: made("gauge", mode, mode, (), (), "Help", mode)
          for mode in ("all", "livesum", "liveall")}
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Container:
    """A process that calls itself 7, and does as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, expression: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


@contextmanager
def container(directory: Path) -> Iterator[Container]:
    with subprocess.Popen(
        command(SCRIPT),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        made = Container(process)
        try:
            # It has made its files when it answers.
            assert made.tell("None") == "None"
            yield made
        finally:
            process.kill()


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.glob("*.db"))


FILES = ["counter_7", "gauge_all_7", "gauge_liveall_7", "gauge_livesum_7"]


def test_each_counts_in_files_of_its_own(directory: Path) -> None:
    with ExitStack() as stack:
        containers = [stack.enter_context(container(directory)) for _ in range(3)]
        for _ in range(5):
            for number, each in enumerate(containers):
                each.tell(f"[counter.inc(1) for _ in range({10**number})]")
                each.tell(f"[gauge.set({number + 1}) for gauge in gauges.values()]")
        assert names(directory) == sorted(
            f"{name}{suffix}.db" for name in FILES for suffix in ("", "-1", "-2")
        )
        counts = [values_of(directory / f"counter_7{suffix}.db") for suffix in ("", "-1", "-2")]
        assert counts == [{"n_total": 5.0 * 10**number} for number in range(3)]
        # One warning each that it is so, and that says which; the first has nothing to tell.
        messages = [each.tell("messages") for each in containers]
        assert messages[0] == "[]"
        for message in messages[1:]:
            assert eval(f"len({message})") == 1
            assert "counter_7" in message or "'7'" in message or " 7" in message
        for collector in (multiprom.MultiProcessCollector, stock.MultiProcessCollector):
            found = samples(collector(None, str(directory)).collect())
            assert found["n_total", ()] == 555.0
            assert found["livesum", ()] == 6.0
            for mode in ("all", "liveall"):
                by_pid = {dict(key[1])["pid"]: v for key, v in found.items() if key[0] == mode}
                assert by_pid == {"7": 1.0, "7-1": 2.0, "7-2": 3.0}


def test_the_names_of_the_dead_are_taken_again(directory: Path) -> None:
    """As if containers restart one by one: what they counted is continued, nothing is lost."""
    with container(directory) as first:
        first.tell("counter.inc(1)")
        with container(directory) as second:
            second.tell("counter.inc(10)")
        with container(directory) as third:
            third.tell("counter.inc(100)")
        assert values_of(directory / "counter_7-1.db") == {"n_total": 110.0}
    with container(directory) as fourth:
        fourth.tell("counter.inc(1000)")
        assert fourth.tell("messages") == "[]"
    assert values_of(directory / "counter_7.db") == {"n_total": 1001.0}
    assert names(directory) == sorted(
        f"{name}{suffix}.db" for name in FILES for suffix in ("", "-1")
    )


def test_a_name_that_was_taken_is_kept_while_its_process_lives(directory: Path) -> None:
    with container(directory) as first, container(directory) as beside:
        first.tell("counter.inc(1)")
        beside.tell("counter.inc(10)")
        first.process.kill()
        first.process.wait()
        beside.tell("made('counter', 'late', 'late', (), (), 'Help').inc(1)")
        beside.tell("made('summary', 'late', 'late', (), (), 'Help').inc(1)")
        beside.tell("counter.inc(10)")
        assert values_of(directory / "counter_7-1.db") == {"n_total": 20.0, "late": 1.0}
        assert values_of(directory / "counter_7.db") == {"n_total": 1.0}
        assert len(list(directory.glob("summary_7*.db"))) == 1
