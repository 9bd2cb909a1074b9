"""start_http_server() serves the files, to several clients at once."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import multiprom
import pytest
from prometheus_client import CollectorRegistry
from support.files import counter, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def url(directory: Path) -> Iterator[str]:
    write(directory / "counter_1.db", [counter(3)])
    registry = CollectorRegistry(auto_describe=True)
    multiprom.MultiProcessCollector(registry)
    server, thread = multiprom.start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)
    assert not thread.is_alive()


def get(url: str, **headers: str) -> tuple[str, str]:
    # Whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_serves_text(url: str) -> None:
    kind, text = get(f"{url}/metrics")
    assert kind.startswith("text/plain; version=0.0.4")
    assert "\nrequests_total 3.0\n" in text


def test_serves_openmetrics(url: str) -> None:
    kind, text = get(f"{url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("requests_total 3.0\n# EOF\n")


def test_chooses_by_name(url: str) -> None:
    assert "requests_total 3.0\n" in get(f"{url}/metrics?name[]=requests_total")[1]
    assert get(f"{url}/metrics?name[]=other")[1] == ""


def test_sees_what_changes(url: str, directory: Path) -> None:
    write(directory / "counter_2.db", [counter(4)])
    assert "\nrequests_total 7.0\n" in get(url)[1]


def test_serves_many(url: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        texts = {text for _, text in pool.map(get, [url] * 64)}
    assert len(texts) == 1
