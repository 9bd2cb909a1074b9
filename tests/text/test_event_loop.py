"""A collector that needs the event loop is collected in it, beside multiprocess collectors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import multiprom
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


class Tasks:
    """Counts the tasks of the running loop, which fails outside of it."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("tasks", "Tasks", value=len(asyncio.all_tasks()))


def test_a_collector_that_needs_the_loop(directory: Path) -> None:
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry, directory)
    registry.register(Tasks())
    app = multiprom.make_asgi_app(registry)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def scrape() -> None:
        await app({"type": "http", "headers": [], "query_string": b""}, receive, send)

    asyncio.run(scrape())
    assert sent[0]["status"] == 200
    assert b"\ntasks 1.0\n" in sent[1]["body"]
