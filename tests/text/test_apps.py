"""The applications and the server answer each request as prometheus_client's answer it."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom import _core
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry, exposition
from prometheus_client import make_asgi_app as stock_asgi_app
from prometheus_client import make_wsgi_app as stock_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from support import stock
from support.clients import asgi, wsgi
from support.files import Entry, counter, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


# What Prometheus sends, before and since its version 3.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
ACCEPT = [
    "",
    "*/*",
    "text/plain",
    "text/plain; version=0.0.4",
    "text/plain;version=1.0.0",
    "text/plain; version=1.0.0; escaping=allow-utf-8",
    "text/plain; version=1.0.0; escaping=dots",
    "text/plain; version=1.0.0; escaping=values",
    "text/plain; version=1.0.0; escaping=underscores",
    "text/plain; version=1.0.0; escaping=unheard-of",
    "text/plain; version=2.5.0; escaping=values",
    "application/openmetrics-text",
    "application/openmetrics-text; version=0.0.1",
    "application/openmetrics-text; version=1.0.0",
    "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8",
    "application/openmetrics-text; version=1.0.0; escaping=dots; charset=utf-8",
    "application/openmetrics-text; version=2.0.0; escaping=values",
    "application/openmetrics-text; escaping=dots",
    "application/json",
    PROMETHEUS_2,
    PROMETHEUS_3,
]
ENCODINGS = ["", "gzip", "GZIP", "deflate, gzip;q=1.0", "br", "identity"]
QUERIES = [
    "",
    "name[]=requests_total",
    "name[]=jobs&name[]=requests_total",
    "name%5B%5D=jobs",
    "name[]=missing",
    "name[]=",
    "other=1",
]


@pytest.fixture
def registries(directory: Path) -> tuple[Any, Any]:
    name = "re.quests é" if stock.UTF8_NAMES else "re:quests"
    write(directory / "counter_1.db", [counter(1, code="1"), counter(2, name, a="é")])
    write(directory / "counter_2.db", [counter(1, code="1")])
    write(directory / "gauge_all_2.db", [Entry("jobs", "jobs", value=1e6)])
    # With names, so that `name[]` finds them.
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    multiprom.MultiProcessCollector(ours)
    stock.SortedCollector(theirs)
    return ours, theirs


class TestWsgi:
    def check(self, registries: tuple[Any, Any], **request: Any) -> None:
        ours, theirs = registries
        response = wsgi(multiprom.make_wsgi_app(ours), **request)
        assert response == wsgi(stock_wsgi_app(theirs), **request)

    @pytest.mark.parametrize("accept", ACCEPT)
    def test_accept(self, registries: tuple[Any, Any], accept: str) -> None:
        self.check(registries, HTTP_ACCEPT=accept)

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_accept_encoding(self, registries: tuple[Any, Any], encoding: str) -> None:
        self.check(registries, HTTP_ACCEPT_ENCODING=encoding)

    @pytest.mark.parametrize("query", QUERIES)
    def test_query(self, registries: tuple[Any, Any], query: str) -> None:
        self.check(registries, QUERY_STRING=query)

    @pytest.mark.parametrize("method", ["OPTIONS", "POST", "HEAD", "PUT", "get"])
    def test_method(self, registries: tuple[Any, Any], method: str) -> None:
        self.check(registries, method=method)

    @pytest.mark.parametrize("path", ["/", "", "/favicon.ico", "/any/path"])
    def test_path(self, registries: tuple[Any, Any], path: str) -> None:
        self.check(registries, path=path)

    def test_no_compression(self, registries: tuple[Any, Any]) -> None:
        ours, theirs = registries
        responses = [
            wsgi(make(registry, disable_compression=True), HTTP_ACCEPT_ENCODING="gzip")
            for make, registry in (
                (multiprom.make_wsgi_app, ours),
                (stock_wsgi_app, theirs),
            )
        ]
        assert responses[0] == responses[1]
        assert "Content-Encoding" not in dict(responses[0].headers)

    def test_has_the_metrics(self, registries: tuple[Any, Any]) -> None:
        """Two equal answers could still both be empty."""
        response = wsgi(multiprom.make_wsgi_app(registries[0]))
        assert response.status == "200 OK"
        assert b'\nrequests_total{code="1"} 2.0\n' in response.body
        assert b'\njobs{pid="2"} 1e+06\n' in response.body


@pytest.mark.parametrize("series", [0, 1, 2000])
def test_gzip_is_about_as_small_as_that_of_stock(series: int) -> None:
    lines = (f'orders_total{{path="/api/v1/orders/{n}"}} {n * 37}.0\n' for n in range(series))
    text = "".join(lines).encode()
    compressed = _core.gzip(text)
    assert gzip.decompress(compressed) == text
    assert len(compressed) <= 1.1 * len(gzip.compress(text)) + 8


class TestAsgi:
    def check(self, registries: tuple[Any, Any], **request: Any) -> None:
        ours, theirs = registries
        response = asgi(multiprom.make_asgi_app(ours), **request)
        assert response == asgi(stock_asgi_app(theirs), **request)

    @pytest.mark.parametrize("accept", ACCEPT)
    def test_accept(self, registries: tuple[Any, Any], accept: str) -> None:
        self.check(registries, headers=(("accept", accept),))

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_accept_encoding(self, registries: tuple[Any, Any], encoding: str) -> None:
        self.check(registries, headers=(("Accept-Encoding", encoding),))

    def test_a_header_in_two_lines(self, registries: tuple[Any, Any]) -> None:
        lines = ("accept", "text/html"), ("accept", "application/openmetrics-text; version=1.0.0")
        self.check(registries, headers=lines)

    @pytest.mark.parametrize("query", QUERIES)
    def test_query(self, registries: tuple[Any, Any], query: str) -> None:
        """Compared with the other kind: before 0.21 this one of prometheus_client knew no names."""
        ours, theirs = registries
        response = asgi(multiprom.make_asgi_app(ours), query=query)
        expected = wsgi(stock_wsgi_app(theirs), QUERY_STRING=query)
        assert (response.status, response.headers, response.body) == (
            "200",
            expected.headers,
            expected.body,
        )

    @pytest.mark.parametrize("method", ["OPTIONS", "POST", "HEAD"])
    def test_method(self, registries: tuple[Any, Any], method: str) -> None:
        self.check(registries, method=method)

    def test_no_compression(self, registries: tuple[Any, Any]) -> None:
        app = multiprom.make_asgi_app(registries[0], disable_compression=True)
        response = asgi(app, headers=(("accept-encoding", "gzip"),))
        assert "Content-Encoding" not in dict(response.headers)
        assert b'\nrequests_total{code="1"} 2.0\n' in response.body


class TestSignatures:
    """Arguments may be given by name."""

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (multiprom.generate_latest, stock.generate_latest),
            (openmetrics_latest, stock.openmetrics_latest),
            (multiprom.make_wsgi_app, stock_wsgi_app),
            (multiprom.make_asgi_app, stock_asgi_app),
            (multiprom.start_http_server, exposition.start_http_server),
        ],
        ids=["generate_latest", "openmetrics_latest", "wsgi", "asgi", "start_http_server"],
    )
    def test_parameters(self, ours: Any, theirs: Any) -> None:
        expected = inspect.signature(theirs).parameters
        parameters = inspect.signature(ours).parameters
        # More of ours is no harm: the installed version may be an old one.
        assert [
            (parameter.name, parameter.default, parameter.kind)
            for parameter in parameters.values()
            if parameter.name in expected
        ] == [
            (parameter.name, parameter.default, parameter.kind) for parameter in expected.values()
        ]

    def test_content_type(self) -> None:
        assert multiprom.CONTENT_TYPE_LATEST == exposition.CONTENT_TYPE_LATEST


# A collector that needs the event loop is collected in it, beside multiprocess collectors.


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


# start_http_server() serves the files, to several clients at once.


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
