"""A program that closes descriptors that are not its own, and opens files under their numbers.

Daemonizing code does that (`os.closerange`). Whoever then grows, locks or closes the descriptor by
its number does so to a file of the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

BEGINNING = """
import os, subprocess, sys
from support.warned import messages
import multiprom
multiprom.install()
from prometheus_client import Counter, Gauge, values
counter = Counter("n", "Help", ["l"])
counter.labels("first").inc()
os.closerange(3, 100)
paths = [os.path.join(sys.argv[1], f"own-{number}") for number in range(20)]
own = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
for descriptor in own:
    os.write(descriptor, b"mine")

def check():
    for descriptor in own:
        assert os.fstat(descriptor).st_size == 4, os.fstat(descriptor)
        assert os.pread(descriptor, 9, 0) == b"mine"

def total():
    return sum(s.value for m in multiprom.MultiProcessCollector(None).collect() for s in m.samples)
"""

ACTS = {
    "growing": """
for number in range(3000):
    counter.labels(str(number)).inc()
check()
assert total() == 3001, total()
# The file is still locked: another process sees that this one lives.
compact = "import multiprom; print(multiprom.compact().files_folded)"
assert subprocess.check_output([sys.executable, "-c", compact]) == b"0\\n"
assert total() == 3001, total()
""",
    "opening another file": """
Gauge("g", "Help", multiprocess_mode="sum").set(2)
check()
assert total() == 3, total()
from multiprom import _core
[slot] = [slot for slot in _core.slots(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if slot[1]]
""",
    "closing": """
values.ValueClass.close_all_files()
check()
counter.labels("first").inc()
assert total() == 2, total()
""",
    "forking": """
pid = os.fork()
if pid == 0:
    counter.labels("first").inc()
    check()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
check()
assert total() == 2, total()
""",
    "ending": "",
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_files_of_the_program_stay_as_they_are(act: str, directory: Path, tmp_path: Path) -> None:
    ending = "check()\nassert messages == [], messages\nprint('sound')\n"
    printed = run(BEGINNING + act + ending, tmp_path, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "sound\n"
    assert {file.read_bytes() for file in tmp_path.glob("own-*")} == {b"mine"}
