"""Count, fold and scrape through an installed multiprom, to see that nothing was left unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Counts 2 in a process of its own, which then ends.
CHILD = """
import multiprom
import prometheus_client

multiprom.install()
prometheus_client.Counter("orders", "Orders.").inc(2)
"""
EXPECTED = b"# HELP orders_total Orders.\n# TYPE orders_total counter\norders_total 5.0\n"


def main() -> None:
    """Count here and in a process that dies, fold what it counted, and read the sum."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        subprocess.run([sys.executable, "-I", "-c", CHILD], check=True)

        import multiprom
        import prometheus_client

        multiprom.install()
        registry = prometheus_client.CollectorRegistry()
        prometheus_client.Counter("orders", "Orders.", registry=registry).inc(3)
        multiprom.compact()
        if not (Path(directory) / "counter_compacted.db").exists():
            raise SystemExit("what the dead process counted was not folded")

        scraped = prometheus_client.CollectorRegistry()
        multiprom.MultiProcessCollector(scraped)
        text = multiprom.generate_latest(scraped)
    if text != EXPECTED:
        raise SystemExit(f"expected {EXPECTED!r}, got {text!r}")


if __name__ == "__main__":
    main()
