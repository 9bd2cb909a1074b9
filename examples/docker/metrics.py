"""Serve the metrics of a directory, for a sidecar that shares it with the application."""

import signal

import multiprom
from prometheus_client import CollectorRegistry


def main() -> None:
    """Serve PROMETHEUS_MULTIPROC_DIR on port 9100 until the container is stopped."""
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    multiprom.start_http_server(9100, registry=registry)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    main()
