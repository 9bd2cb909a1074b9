"""Writers of one name in one directory, and writers that are killed at any moment.

Containers that share a volume have processes of one name: both are their pid namespace's number 1,
or 7. prometheus_client maps the file in both, and each writes over the other's entries.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support import stock
from support.equality import samples
from support.files import HEADER, MAGIC, USED, extents, magic, values_of
from support.interpreters import command, environment, run

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


# Writers that are killed at any moment: what they reported as counted is in their files.
#
# The entry is written first and published last, so a file reads cleanly whenever its writer died.

PROCESSES = 150

# Each child makes series and counts, and reports each count that is done. Some have series of the
# parent to begin with. The moments are spread over all that a child does in its life.
KILLING = """
import os, random, signal, sys, time
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, Histogram, values

seed, inherits = int(sys.argv[1]), sys.argv[1] == "1"
random.seed(seed)
if inherits:
    counter = Counter("n", "Help", registry=None)
    inherited = Counter("inherited", "Help", ["label"], registry=None)
    for number in range(500):
        inherited.labels("x" * 200 + str(number)).inc()

def live(report):
    global counter
    if not inherits:
        counter = Counter("n", "Help", registry=None)
    labelled = Counter("l", "Help", ["label"], registry=None)
    took = Histogram("took", "Help", ["label"], registry=None)
    for number in range(10**9):
        counter.inc()
        os.write(report, b"n")
        # Some long ones: the file grows often.
        labelled.labels("x" * (2000 if number % 10 == 0 else 50) + str(number)).inc()
        os.write(report, b"l")
        took.labels(str(number % 50)).observe(number)
        os.write(report, b"t")

def reported(pipe):
    found = b""
    while chunk := os.read(pipe, 1 << 16):
        found += chunk
        yield found

for number in range(int(sys.argv[2])):
    pipe, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe)
            live(report)
        finally:
            os._exit(1)
    os.close(report)
    everything = reported(pipe)
    done = b""
    if number % 3:
        # In the midst of counting, else possibly before the first.
        done = next(everything)
    time.sleep(random.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)
    for done in everything:
        pass
    os.close(pipe)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    print(pid, *[done.count(letter) for letter in (b"n", b"l", b"t")])
"""


@pytest.mark.parametrize("seed", [1, 2], ids=["with series of the parent", "with none"])
def test_every_file_reads_cleanly_and_has_what_was_reported(seed: int, directory: Path) -> None:
    # A fast machine makes so many series that a limit, or its absence, would be told of.
    variables: dict[str, Any] = {
        "PROMETHEUS_MULTIPROC_DIR": directory,
        "MULTIPROM_SERIES_LIMIT": "1000000",
    }
    printed = run(KILLING, str(seed), str(PROCESSES), seconds=110, **variables)
    lines = [line.split() for line in printed.splitlines()]
    assert len({pid for pid, *_ in lines}) == PROCESSES
    totals = [0, 0, 0]
    for pid, *numbers in lines:
        reported = [int(number) for number in numbers]
        path = directory / f"counter_{pid}.db"
        found = values_of(path) if path.exists() else {}
        series = [value for name, value in found.items() if name.startswith("l_total ")]
        path = directory / f"histogram_{pid}.db"
        buckets = values_of(path) if path.exists() else {}
        counts = [
            sum(value for name, value in found.items() if name.startswith("n_total")),
            sum(series),
            sum(value for name, value in buckets.items() if name.startswith("took_bucket")),
        ]
        # At most the one that it was killed at is there and not reported.
        for count, number in zip(counts, reported, strict=True):
            assert number <= count <= number + 1
        assert set(series) <= {0.0, 1.0}
        totals = [total + int(count) for total, count in zip(totals, counts, strict=True)]
    assert min(totals) > PROCESSES

    for path in directory.glob("*.db"):
        content = path.read_bytes()
        if not any(content[: USED.size]):
            # Killed before the first entry.
            continue
        assert magic(path) == MAGIC
        # Entry by entry up to the end of what is published, and nothing doubtful behind it.
        (used,) = USED.unpack_from(content)
        assert [HEADER, *[end for _, end in extents(content)]][-1] == used
    collector = multiprom.MultiProcessCollector(None, str(directory))
    text = {
        sample.name: sample.value
        for metric in collector.collect()
        for sample in metric.samples
        if sample.name == "n_total"
    }
    assert text == {"n_total": totals[0]}
    assert [report for report in multiprom.left_out() if str(directory) in report.path] == []
    # prometheus_client reads them, too.
    sound = [str(path) for path in directory.glob("*.db") if path.stat().st_size]
    metrics = stock.MultiProcessCollector.merge(sound)
    assert {s.value for m in metrics for s in m.samples if s.name == "n_total"} == {totals[0]}
