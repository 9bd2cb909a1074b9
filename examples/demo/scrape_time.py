"""Time the scrape of a directory: `scrape_time.py stock|multiprom DIRECTORY`, result as JSON.

A process of its own for each library, so that neither finds anything of the other's.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from importlib import metadata

from prometheus_client import CollectorRegistry, generate_latest, multiprocess

ROUNDS = 7


def main() -> None:
    """Scrape in the way that the first argument names, and print the median of some rounds."""
    library, directory = sys.argv[1:]
    scrape = generate_latest
    collector = multiprocess.MultiProcessCollector
    version = f"prometheus_client {metadata.version('prometheus_client')}"
    if library == "multiprom":
        import multiprom  # noqa: PLC0415 - the other process must not import it

        scrape = multiprom.generate_latest
        collector = multiprom.MultiProcessCollector
        version = f"multiprom {multiprom.__version__}"
    seconds = []
    text = b""
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        registry = CollectorRegistry()
        collector(registry, path=directory)
        text = scrape(registry)
        seconds.append(time.perf_counter() - begin)
    samples = sum(not line.startswith(b"#") for line in text.splitlines())
    result = {"name": version, "seconds": statistics.median(seconds), "samples": samples}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
