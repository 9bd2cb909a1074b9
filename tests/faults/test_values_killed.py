"""Writers that are killed at any moment: what they reported as counted is in their files.

The entry is written first and published last, so a file reads cleanly whenever its writer died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support import stock
from support.files import HEADER, MAGIC, USED, extents, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

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
    printed = run(
        KILLING, str(seed), str(PROCESSES), PROMETHEUS_MULTIPROC_DIR=directory, seconds=110
    )
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
