"""A process that lives as long as the service: it counts its scrapes, and scrapes all processes.

It writes a line of JSON for each scrape, until its input ends.
"""

from __future__ import annotations

import json
import select
import sys
import time

import multiprom

SCRAPES_PER_SECOND = 5


def main() -> None:
    """Scrape the directory that the environment names."""
    multiprom.install()
    from prometheus_client import CollectorRegistry, Counter, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    scrapes = Counter("soak_scrapes", "Scrapes of the process beside the server.")
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    while not select.select([sys.stdin], [], [], 1 / SCRAPES_PER_SECOND)[0]:
        scrapes.inc()
        begin = time.perf_counter()
        text = generate_latest(registry).decode()
        seconds = time.perf_counter() - begin
        counted = {
            "requests": total(text, "soak_requests_total{"),
            "observed": total(text, "soak_seconds_count{"),
            "summed up": total(text, "soak_bytes_count "),
            "scrapes": total(text, "soak_scrapes_total "),
        }
        print(json.dumps({"seconds": seconds, "counted": counted}), flush=True)


def total(text: str, start: str) -> int:
    """Add up the samples whose lines begin so."""
    lines = (line for line in text.splitlines() if line.startswith(start))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


if __name__ == "__main__":
    main()
