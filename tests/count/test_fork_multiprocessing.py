"""The processes of multiprocessing count, each in files of its own, however they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprom
import pytest
from support.equality import samples
from support.files import MAGIC, magic, values_of
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ["fork", "forkserver", "spawn", "forkserver, preloaded"]

POOL = """
import multiprocessing, os, sys
from pool_app import work

if __name__ == "__main__":
    method, _, preloaded = sys.argv[1].partition(", ")
    context = multiprocessing.get_context(method)
    if preloaded:
        context.set_forkserver_preload(["pool_app"])
    work(5)
    with context.Pool(2, maxtasksperchild=2) as pool:
        pids = pool.map(work, [100] * 8, chunksize=1)
        pool.close()
        pool.join()
    processes = [context.Process(target=work, args=(1000,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    print(os.getpid(), *set(pids), *[process.pid for process in processes])
"""


@pytest.mark.parametrize("method", METHODS)
def test_each_process_counts(method: str, directory: Path) -> None:
    printed = run(POOL, method, PROMETHEUS_MULTIPROC_DIR=directory)
    own, *others = printed.split()
    assert len(others) >= 4
    found = samples(multiprom.MultiProcessCollector(None, str(directory)).collect())
    assert found["tasks_total", ()] == 5 + 8 * 100 + 2 * 1000
    assert found["idle_total", (("why", "none"),)] == 0.0
    assert values_of(directory / f"counter_{own}.db") == {"tasks_total": 5.0, "idle_total none": 0}
    for pid in others:
        values = values_of(directory / f"counter_{pid}.db")
        assert values["tasks_total"] in {100.0, 200.0, 1000.0}
        assert values["idle_total none"] == 0.0
        assert magic(directory / f"counter_{pid}.db") == MAGIC
        assert values_of(directory / f"gauge_livesum_{pid}.db") == {"alive": 1.0}
