"""Scrape one counter through an installed multiprom, to see that nothing was left unpacked."""

from __future__ import annotations

import os
import tempfile

EXPECTED = b"# HELP orders_total Orders.\n# TYPE orders_total counter\norders_total 3.0\n"


def main() -> None:
    """Write a counter as prometheus_client does, and read it as multiprom does."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        # Now that the variable is set: prometheus_client looks at it while it is imported.
        import multiprom
        import prometheus_client

        registry = prometheus_client.CollectorRegistry()
        prometheus_client.Counter("orders", "Orders.", registry=registry).inc(3)

        scraped = prometheus_client.CollectorRegistry()
        multiprom.MultiProcessCollector(scraped)
        text = multiprom.generate_latest(scraped)
    if text != EXPECTED:
        raise SystemExit(f"expected {EXPECTED!r}, got {text!r}")


if __name__ == "__main__":
    main()
