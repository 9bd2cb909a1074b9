"""Where no hook tells who has died, who scrapes or begins to write folds what the dead left.

Here in processes that fork, with archives that are large, and with files that cannot be folded.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import multiprom
import pytest
from support import ours
from support.deaths import fold
from support.files import Entry, counter, write_ours
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = """
import os, sys
import multiprom
from multiprom import _core
multiprom.install()
from prometheus_client import Counter, Gauge
from support.scripts import scrape
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help")
live = Gauge("live", "Help", multiprocess_mode="livesum")

def files():
    return sorted(name for name in os.listdir(directory) if name.endswith(".db"))

def in_child(act):
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    return os.waitpid(pid, 0)

def count():
    counter.inc(0.1)
    live.set(1)
"""


def test_a_scrape(directory: Path) -> None:
    script = """
for _ in range(50):
    in_child(count)
_core.reset_compaction()
found = scrape()
print(found["n_total"], "live" in found and found["live"])
print(len(files()), "counter_compacted.db" in files())
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    total = math.fsum([0.1] * 50)
    assert printed == f"{total!r} 0.0\n3 True\n"


def test_the_start_of_a_writer(directory: Path) -> None:
    script = """
# This process sweeps when it first counts, so that its children need not for 5 s.
counter.inc(0)
for _ in range(20):
    in_child(count)
before = len(files())
_core.reset_compaction()
in_child(count)
print(before, len(files()), "counter_compacted.db" in files())
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    # 21 processes with two files each; then the parent, the last child, and the archive.
    assert printed == "42 5 True\n"


@pytest.mark.parametrize("off", ["off", "0"])
def test_neither_if_it_is_turned_off(off: str, directory: Path) -> None:
    script = """
for _ in range(5):
    in_child(count)
scrape()
print(len(files()))
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION=off
    )
    assert printed == "12\n"


def test_a_thousand_deaths(directory: Path) -> None:
    """No total ever falls, and the last is the exact sum."""
    script = """
import math
last = 0.0
most = 0
for number in range(1000):
    in_child(count)
    if number % 10 == 0:
        _core.reset_compaction()
        total = scrape()["n_total"]
        assert total == math.fsum([0.1] * (number + 1)), (number, total)
        assert total >= last
        last = total
        most = max(most, len(files()))
print(scrape()["n_total"], most)
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    total, most = printed.split()
    assert float(total) == math.fsum([0.1] * 1000)
    assert int(most) <= 40


def test_a_scrape_does_not_wait_for_the_sweep_of_a_writer(directory: Path) -> None:
    """What the writer has left to it, as it takes long, would stay where workers live shortly."""
    script = """
def count_much():
    # An archive is rewritten as a whole: more than the 16 MiB that a writer reads.
    for letter in "ab":
        Counter(letter, letter * (9 << 20)).inc(0.1)
    count()

in_child(count_much)
_core.reset_compaction()
# Opens a file, and sweeps: live gauges go, which takes no time.
Gauge("late", "Help", multiprocess_mode="max").set(1)
print(sorted({name.rpartition("_")[0] for name in files()}), len(files()))
print(scrape()["n_total"], "counter_compacted.db" in files(), len(files()))
"""
    printed = run(
        APPLICATION + script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on"
    )
    assert printed == "['counter', 'gauge_livesum', 'gauge_max'] 4\n0.1 True 4\n"


@pytest.mark.usefixtures("automatic")
def test_a_hook_leaves_a_large_archive_to_a_scrape(directory: Path) -> None:
    """The archive and the file together are more than the 16 MiB that a hook and a writer read."""
    entry = Entry("c", "c_total", help="x" * (9 << 20), value=1)
    write_ours(directory / "counter_1.db", entry)
    assert fold(str(directory), 1).files_folded == 1
    second = write_ours(directory / "counter_2.db", entry)
    done = fold(str(directory), 2)
    assert (done.files_folded, [left.path for left in done.left_alone]) == (0, [str(second)])
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(0)
        assert second.exists()
    multiprom.MultiProcessCollector(None, directory).collect()
    assert not second.exists()


@pytest.mark.usefixtures("automatic")
def test_each_reason_is_one_warning(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that stay until somebody does something about it, whoever tries to fold them."""
    for pid, mode in [(1, 0o600), (2, 0o640), (3, 0o660)]:
        write_ours(directory / f"counter_{pid}.db", counter(1)).chmod(mode)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            multiprom.MultiProcessCollector(None, directory).collect()
        fold(str(directory), 2)
    expected = (
        f"files of dead processes stay: '{directory}/counter_2.db': the file's owner, group or "
        "permissions differ from those of the archive, where other users could read what the file "
        "holds: run all processes as one user and with one umask, or let everybody read the files"
    )
    assert [record.getMessage() for record in caplog.records] == [expected]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize(
    ("name", "what_to_do"),
    [("counter_5.db", "move the file out"), ("counter_compacted.db", "move the file out")],
)
def test_the_hook_says_what_to_do(
    name: str, what_to_do: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / name).write_bytes(b"neither multiprom's nor prometheus_client's")
    write_ours(directory / "counter_6.db", counter(1))
    with caplog.at_level(logging.DEBUG):
        for pid in (5, 6, 5):
            fold(str(directory), pid)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"'{directory / name}'" in record.getMessage()
    assert what_to_do in record.getMessage()


def test_the_hook_says_what_it_may_not_do(directory: Path) -> None:
    """gunicorn's master folds for all; what only scrapes may have less rights, and is silent."""
    script = """
import os
from support.refusing_kernel import refuse
from support.warned import messages
import multiprom
from support.deaths import fold
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
refuse("renameat", 13)
multiprom.MultiProcessCollector(None).collect()
print(messages)
for _ in range(2):
    fold(directory, 1)
[message] = messages
told = ["counter_compacted.db", "[Errno 13]", "let this process write"]
print([text in message for text in told])
"""
    write_ours(directory / "counter_1.db", counter(1))
    printed = run(script, PROMETHEUS_MULTIPROC_DIR=directory, MULTIPROM_COMPACTION="on")
    assert printed == "[]\n[True, True, True]\n"


@pytest.mark.usefixtures("automatic")
def test_what_every_scrape_reports_is_not_told_twice(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_ours(directory / "counter_1.db", counter(1))
    path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.DEBUG), ours.value_class(lambda: "w") as made:
        # Opens a file, and sweeps when it counts there.
        ours.value(made).inc(0)
    assert caplog.records == []
    assert path.exists()
