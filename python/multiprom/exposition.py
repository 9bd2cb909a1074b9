"""Exposition: registries to text, straight from the files where a registry holds our collector."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import itertools
import os
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import prometheus_client
from prometheus_client import asgi
from prometheus_client import exposition as stock_exposition
from prometheus_client.openmetrics import exposition as stock_openmetrics
from prometheus_client.registry import REGISTRY

from multiprom import _core, reports
from multiprom.collector import DIALECT
from multiprom.registries import FILES, Metrics, content_of, leave_to_shared, source_of
from multiprom.stock import bind, is_genuine, original, replaces

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Mapping
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.registry import Collector

CONTENT_TYPE_LATEST: str = stock_exposition.CONTENT_TYPE_LATEST
"""Content type of the latest text format, as prometheus_client's."""

_STOCK_TEXT = original(stock_exposition.generate_latest)
_STOCK_OPENMETRICS = original(stock_openmetrics.generate_latest)
_STOCK_BAKE = original(stock_exposition._bake_output)  # noqa: SLF001
_UNDERSCORES = "underscores"
_ALLOW_UTF8 = "allow-utf-8"
_ESCAPINGS = (_UNDERSCORES, _ALLOW_UTF8, "dots", "values")
_EOF = b"# EOF\n"

# Before 0.23 names were not escaped, at most quoted. OpenMetrics quoted them in a way of its own
# then, which is left to prometheus_client's code.
_HAS_ESCAPING = "escaping" in inspect.signature(_STOCK_TEXT).parameters
_HAS_VERSION = "version" in inspect.signature(_STOCK_OPENMETRICS).parameters


def generate_latest(registry: Collector = REGISTRY, escaping: str = _UNDERSCORES) -> bytes:
    """Give the metrics of `registry` in the Prometheus text format.

    The same bytes as prometheus_client's `generate_latest`. What the registry's multiprocess
    collectors hold goes from the files to text in Rust; other collectors are formatted by
    prometheus_client, in registry order. A metric that the multiprocess collectors have too is not
    repeated.

    Args:
        registry: A registry, or anything with `collect`.
        escaping: The escaping scheme for names: `underscores`, `allow-utf-8`, `dots`, `values`
            (prometheus_client 0.23 and later; before, names are quoted where they need it).

    Returns:
        UTF-8 text.

    Raises:
        OSError: As `MultiProcessCollector.collect`.
        Exception: Whatever another collector raises.

    """
    if not _HAS_ESCAPING:
        return _text(registry, _STOCK_TEXT, escaping=_ALLOW_UTF8, openmetrics=False)
    encoder = functools.partial(_STOCK_TEXT, escaping=escaping)
    return _text(registry, encoder, escaping=escaping, openmetrics=False)


def openmetrics_latest(
    registry: Collector, escaping: str = _UNDERSCORES, version: str = "1.0.0"
) -> bytes:
    """Give the same in the OpenMetrics text format: what `install()` puts in prometheus_client.

    `version` matters to native histograms only (prometheus_client 0.24 and later).
    """
    if not _HAS_ESCAPING:
        return cast("bytes", _STOCK_OPENMETRICS(registry))
    keywords = {"escaping": escaping} | ({"version": version} if _HAS_VERSION else {})
    encoder = functools.partial(_STOCK_OPENMETRICS, **keywords)
    return _text(registry, encoder, escaping=escaping, openmetrics=True)


def _text(
    registry: Any, encoder: Callable[[Any], bytes], *, escaping: str, openmetrics: bool
) -> bytes:
    content = content_of(registry) if escaping in _ESCAPINGS else None
    if content is None or not content.reads_files():
        return encoder(registry)
    parts = [encoder(Metrics(content.first))] if content.first else []
    shared, own = {}, {}
    for source, collectors in itertools.groupby(content.collectors, source_of):
        if source is not FILES:
            own[len(parts)] = source
            parts.append(encoder(Metrics(content.metrics(collectors))))
            continue
        for collector in collectors:
            shared[len(parts)] = os.fsdecode(collector._path)  # noqa: SLF001
            parts.append(b"")
    # Behind the others, as it adds what the others do not have.
    for place, path in shared.items():
        parts[place], left_out = _core.directory_text(
            path, openmetrics, escaping, DIALECT, content.names, parts
        )
        reports.report(left_out, directory=path)
    if own:
        leave_to_shared(parts, [parts[place] for place in shared], own)
    if openmetrics:
        parts = [part.removesuffix(_EOF) for part in parts]
        parts.append(_EOF)
    return b"".join(parts)


def _bake_output(
    registry: Any,
    accept_header: str | None,
    accept_encoding_header: str | None,
    params: Mapping[str, list[str]],
    disable_compression: bool,
) -> tuple[str, list[tuple[str, str]], bytes]:
    """Give status, headers and body of a scrape, negotiated as prometheus_client does.

    Its callers there name the arguments, so the names are prometheus_client's.
    """
    encoder, content_type = stock_exposition.choose_encoder(accept_header or "")
    if "name[]" in params:
        registry = registry.restricted_registry(params["name[]"])
    output = _fast(encoder)(registry)
    headers = [("Content-Type", content_type)]
    if not disable_compression and stock_exposition.gzip_accepted(accept_encoding_header or ""):
        output = _core.gzip(output)
        headers.append(("Content-Encoding", "gzip"))
    return "200 OK", headers, output


def _baker() -> Callable[..., tuple[str, list[tuple[str, str]], bytes]]:
    """Give the function that applications call: ours, or what a program patched over it."""
    patched = stock_exposition._bake_output  # noqa: SLF001
    return _bake_output if patched is _STOCK_BAKE else patched


def _fast(encoder: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Give our encoder for one that prometheus_client's `choose_encoder` chose."""
    keywords = getattr(encoder, "keywords", {})
    stock = getattr(encoder, "func", encoder)
    if stock is _STOCK_TEXT:
        return functools.partial(generate_latest, **keywords)
    if stock is _STOCK_OPENMETRICS:
        return functools.partial(openmetrics_latest, **keywords)
    return encoder


def make_wsgi_app(
    registry: Collector = REGISTRY, disable_compression: bool = False
) -> Callable[..., Any]:
    """Make a WSGI application that serves the metrics of `registry`.

    As prometheus_client's `make_wsgi_app`: any path, `Accept` negotiation, gzip, `name[]`.

    Args:
        registry: A registry.
        disable_compression: Whether to never compress.

    """
    stock_app = original(stock_exposition.make_wsgi_app)(registry, disable_compression)

    def prometheus_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] != "GET" or environ.get("PATH_INFO") == "/favicon.ico":
            return stock_app(environ, start_response)
        status, headers, output = _baker()(
            registry,
            environ.get("HTTP_ACCEPT"),
            environ.get("HTTP_ACCEPT_ENCODING"),
            parse_qs(environ.get("QUERY_STRING", "")),
            disable_compression,
        )
        start_response(status, headers)
        return [output]

    return prometheus_app


def make_asgi_app(
    registry: Collector = REGISTRY, disable_compression: bool = False
) -> Callable[..., Awaitable[None]]:
    """Make an ASGI application that serves the metrics of `registry`.

    As prometheus_client's `make_asgi_app`, but under asyncio the scrape of a registry that holds
    multiprocess collectors only runs in a thread, so that the event loop goes on meanwhile: other
    collectors may need the loop or its thread.

    Args:
        registry: A registry.
        disable_compression: Whether to never compress.

    """

    async def prometheus_app(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope.get("type") != "http":
            raise AssertionError(f"metrics are served over HTTP, not over {scope.get('type')}")

        def header(wanted: bytes) -> str:
            values = (value for name, value in scope.get("headers", ()) if name.lower() == wanted)
            return ",".join(value.decode("utf8") for value in values)

        bake = functools.partial(
            _baker(),
            registry,
            header(b"accept"),
            header(b"accept-encoding"),
            parse_qs(scope.get("query_string", b"").decode("utf8")),
            disable_compression,
        )
        content, loop = content_of(registry), None
        if content is not None and content.only_reads_files():
            # An error under another event loop.
            with contextlib.suppress(RuntimeError):
                # Imported only here: install() takes half as long without.
                asyncio = importlib.import_module("asyncio")
                loop = asyncio.get_running_loop()
        status, headers, output = bake() if loop is None else await asyncio.to_thread(bake)
        payload = await receive()
        if payload.get("type") != "http.request":
            return
        code = int(status.split(" ")[0])
        pairs = [(name.encode("utf8"), value.encode("utf8")) for name, value in headers]
        await send({"type": "http.response.start", "status": code, "headers": pairs})
        await send({"type": "http.response.body", "body": output})

    return prometheus_app


def start_http_server(
    port: int,
    addr: str = "0.0.0.0",  # noqa: S104
    registry: Collector = REGISTRY,
    *args: Any,
    **kwargs: Any,
) -> tuple[WSGIServer, threading.Thread]:
    """Start a server for the metrics of `registry` in a daemon thread.

    As prometheus_client's `start_http_server`, with all of its arguments.

    Args:
        port: The port; 0 for a free one.
        addr: The address to listen at.
        registry: A registry.
        args: For TLS, as in prometheus_client; so are `kwargs`.
        kwargs: See `args`.

    Returns:
        The server and its thread; `shutdown()` of the server ends both.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.

    """
    start = original(stock_exposition.start_http_server)
    server, thread = start(port, addr, registry, *args, **kwargs)
    server.set_app(make_wsgi_app(registry))
    return server, thread


_is_bound = True
for _ours, _module, _name in (
    (generate_latest, stock_exposition, "generate_latest"),
    (openmetrics_latest, stock_openmetrics, "generate_latest"),
    (_bake_output, stock_exposition, "_bake_output"),
    (make_wsgi_app, stock_exposition, "make_wsgi_app"),
    (make_asgi_app, asgi, "make_asgi_app"),
    (start_http_server, stock_exposition, "start_wsgi_server"),
):
    _stock = original(getattr(_module, _name))
    if is_genuine(_stock, _module.__name__, _name):
        replaces(_ours, _stock)
    else:
        _is_bound = False
bind(__name__, prometheus_client if _is_bound else None)

# The arguments for TLS are those of the installed version.
_signature = inspect.signature(original(stock_exposition.start_http_server))
start_http_server.__signature__ = _signature  # type: ignore[attr-defined]
