"""Requests to the metrics applications, as a server would hand them on."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults


@dataclass(frozen=True)
class Response:
    """What came back; a compressed body is already unpacked, since it carries the time."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _response(status: str, headers: list[tuple[str, str]], body: bytes) -> Response:
    if ("Content-Encoding", "gzip") in headers:
        body = gzip.decompress(body)
    return Response(status, tuple(headers), body)


def wsgi(app: Any, *, method: str = "GET", path: str = "/metrics", **more: str) -> Response:
    """Call a WSGI application; `more` are entries of the environment."""
    environment: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, **more}
    setup_testing_defaults(environment)
    started: list[Any] = []
    body = b"".join(app(environment, lambda *arguments: started.append(arguments)))
    ((status, headers, *_),) = started
    return _response(status, headers, body)


def asgi(
    app: Any, *, query: str = "", headers: tuple[tuple[str, str], ...] = (), method: str = "GET"
) -> Response:
    """Call an ASGI application."""
    scope = {
        "type": "http",
        "method": method,
        "path": "/metrics",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def request() -> None:
        await app(scope, receive, send)

    asyncio.run(request())
    start, *bodies = messages
    return _response(
        str(start["status"]),
        [(name.decode(), value.decode()) for name, value in start["headers"]],
        b"".join(message.get("body", b"") for message in bodies),
    )
