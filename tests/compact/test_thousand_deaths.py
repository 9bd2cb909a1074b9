"""A thousand deaths in two applications, compactions that are killed, and scrapes all the time.

Prometheus takes any fall of a counter for a restart and adds the whole value again, so a total must
not fall by an ulp; and in the end it is what the dead said that they had counted.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEATHS = 500  # In each of two applications.
KILLS = 50  # Compactions that are killed, at least: the applications wait for them.

SCRIPT = """
import os, random, signal, struct, sys, time
import multiprom
from multiprom import _core
multiprom.install()
from prometheus_client import Counter, Gauge

deaths, least_kills, has_hook = map(int, sys.argv[1:])
counter = Counter("n", "Help")
live = Gauge("live", "Help", multiprocess_mode="livesum")

def scrape():
    collector = multiprom.MultiProcessCollector(None)
    found = {s.name: s.value for metric in collector.collect() for s in metric.samples}
    return found.get("n_total", 0.0)

def forked(act, *arguments):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        act(*arguments)
        status = 0
    finally:
        os._exit(status)

def worker(amount, report, stays):
    counter.inc(amount)
    live.set(1)
    os.write(report, struct.pack("d", amount))
    if stays:
        time.sleep(60)

def application(seed, report):
    dice = random.Random(seed)
    for number in range(deaths):
        assert os.read(may_die, 1)
        is_killed = number % 2
        said, say = os.pipe()
        pid = forked(worker, dice.random() / 3, say, is_killed)
        os.close(say)
        amount = os.read(said, 8)
        if is_killed:
            os.kill(pid, signal.SIGKILL)
        os.close(said)
        os.waitpid(pid, 0)
        if has_hook:
            _core.fold_dead(directory, str(pid))
        os.write(report, amount)

def scraper(until):
    last = 0.0
    while not os.path.exists(until):
        total = scrape()
        assert total >= last, (last, total)
        last = total

def compactor():
    while True:
        multiprom.compact()

directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
done = os.path.join(directory, "done")
if has_hook:
    # An archive that is not written anew for each death.
    os.waitpid(forked(lambda: Counter("large", "x" * (200 << 10)).inc()), 0)
    multiprom.compact()
read, write = os.pipe()
may_die, let_die = os.pipe()
applications = [forked(application, seed, write) for seed in range(2)]
scrapers = [forked(scraper, done) for _ in range(2)]
os.close(write)
dice = random.Random(7)
amounts = []
kills = 0
os.set_blocking(read, False)
while len(amounts) < 2 * deaths:
    # So many deaths a compaction that none of them runs out of work, however quick the machine is.
    if kills < least_kills:
        os.write(let_die, bytes(2 * deaths // least_kills))
    compacting = forked(compactor)
    time.sleep(dice.uniform(0, 0.03))
    os.kill(compacting, signal.SIGKILL)
    os.waitpid(compacting, 0)
    kills += 1
    if kills % 2:
        multiprom.compact()
    try:
        chunk = os.read(read, 8 * 1000)
    except BlockingIOError:
        continue
    amounts += [amount for amount, in struct.iter_unpack("d", chunk)]
for pid in applications:
    assert os.waitpid(pid, 0)[1] == 0
open(done, "w").close()
for pid in scrapers:
    assert os.waitpid(pid, 0)[1] == 0, "a total fell"
multiprom.compact()
files = [name for name in os.listdir(directory) if name.endswith(".db")]
print(repr(scrape()), len(files), kills)
print(*map(repr, amounts))
"""


@pytest.fixture(params=["disk", "tmpfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a directory on the file system of temporary files, and on one in memory."""
    if request.param == "disk":
        yield str(tmp_path)
        return
    made = tempfile.mkdtemp(prefix="multiprom-test-", dir="/dev/shm")
    yield made
    shutil.rmtree(made)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("automatic", ["off", "on"])
def test_no_total_falls_or_is_counted_twice(place: str, automatic: str) -> None:
    """Also with all that folds by itself, and with files that wait for a large archive."""
    printed = run(
        SCRIPT,
        *(str(DEATHS), str(KILLS), str(int(automatic == "on"))),
        seconds=200,
        PROMETHEUS_MULTIPROC_DIR=place,
        MULTIPROM_COMPACTION=automatic,
    )
    first, second = printed.splitlines()
    total, files, kills = first.split()
    amounts = [float(amount) for amount in second.split()]
    assert len(amounts) == 2 * DEATHS
    assert float(total) == math.fsum(amounts)
    # The archive, and two of the process that lives.
    assert int(files) == 3
    assert int(kills) >= KILLS
