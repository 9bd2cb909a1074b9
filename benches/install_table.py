"""`make bench-count`: a second table, of the costs of `install()` and the memory of series."""

from __future__ import annotations

import compileall
import subprocess
import sys
import tempfile
from pathlib import Path

import multiprom
from count_contenders import IN_MEMORY, LIBRARIES, MULTIPROM
from machine import print_table

ROUNDS = 5
HEADER = ("once", *LIBRARIES)

INSTALL = """
import sys, time
import prometheus_client, multiprom
before = time.perf_counter()
multiprom.install(sys.argv[1])
print(time.perf_counter() - before)
"""
CHILDREN = 5_000
MOVING = f"""
import sys, time
import prometheus_client, multiprom
multiprom.install(sys.argv[1])
multiprom.uninstall()
children = prometheus_client.Counter("requests", "Requests answered.", ["method", "endpoint"])
for number in range({CHILDREN}):
    children.labels("GET", f"/api/v1/orders/{{number}}").inc()
before = time.perf_counter()
multiprom.install(sys.argv[1])
print((time.perf_counter() - before) / {CHILDREN})
"""
SERIES = 100_000
MEMORY = f"""
import re, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from count_contenders import use
use(sys.argv[2], Path(sys.argv[1]))
from prometheus_client import Counter
counter = Counter("shop_requests", "Requests answered.", ["method", "endpoint"], registry=None)

def private_bytes():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) * 1024

def make(numbers):
    for number in numbers:
        counter.labels("GET", f"/api/v1/orders/{{number}}").inc()

make(range(20_000))
before = private_bytes()
make(range(20_000, 20_000 + {SERIES}))
print((private_bytes() - before) / {SERIES})
"""


def main() -> None:
    """Measure and print the table."""
    # As pip does when it installs a package: else each import would compile the source anew.
    compileall.compile_dir(Path(multiprom.__file__).parent, quiet=1)
    empty = f"{_least(INSTALL, MULTIPROM) * 1e3:.1f} ms"
    moved = f"{_least(MOVING, MULTIPROM) * 1e6:.1f} µs"
    rows = [
        ["`install()` where nothing counts yet", *_only_ours(empty)],
        ["the same, for each child of a metric that exists", *_only_ours(moved)],
        [
            "memory of a distinct series of a counter, but for the file's",
            *(f"{_least(MEMORY, library):.0f} B" for library in LIBRARIES),
        ],
    ]
    print()
    print_table(HEADER, rows, texts=1)
    print()
    print(f"- `{IN_MEMORY}` has the objects of prometheus_client that all have, and a small value.")


def _only_ours(result: str) -> list[str]:
    return [result if library == MULTIPROM else "–" for library in LIBRARIES]


def _least(script: str, library: str) -> float:
    """Return the smallest number that the script prints, each time in a process of its own."""
    printed = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="multiprom-bench-") as directory:
            command = [sys.executable, "-c", script, directory, library]
            printed.append(float(subprocess.check_output(command, timeout=300)))
    return min(printed)


if __name__ == "__main__":
    main()
