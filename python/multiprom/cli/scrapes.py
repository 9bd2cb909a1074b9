"""What `multiprom serve` answers to whom."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry

import multiprom
from multiprom.cli import directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("multiprom")

_PLAIN = "text/plain; charset=utf-8"
_START = b"multiprom: the metrics are at /metrics, the state of this server is at /-/healthy\n"


class Answer(NamedTuple):
    """What a client gets."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class Application:
    """A WSGI application for the metrics of one directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry, path)
        self._metrics = multiprom.make_wsgi_app(registry)
        # Guards the two below.
        self._changed = threading.Condition()
        self._scrapes: dict[tuple[str, ...], Future[Answer]] = {}
        self._answering = 0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterator[bytes]:
        """Answer a request."""
        with self._changed:
            self._answering += 1
        # Ended by the server when the last byte is sent, or the client is gone.
        return self._answer(environ, start_response)

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until nobody waits for an answer any more, but at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._answering, timeout=seconds)

    def _answer(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterator[bytes]:
        try:
            answer = self._of(environ)
            length = ("Content-Length", str(len(answer.body)))
            start_response(answer.status, [*answer.headers, length])
            yield b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def _of(self, environ: dict[str, Any]) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return Answer("405 Method Not Allowed", [("Allow", "GET, HEAD")], b"")
        match environ.get("PATH_INFO"):
            case "/metrics":
                return self._shared_scrape(environ)
            case "/-/healthy":
                error = directory.unreadable(self._path)
                return _plain("503 Service Unavailable", error) if error else _plain("200 OK", "ok")
            case "/" | "":
                return Answer("200 OK", [("Content-Type", _PLAIN)], _START)
        return _plain("404 Not Found", "the metrics are at /metrics")

    def _shared_scrape(self, environ: dict[str, Any]) -> Answer:
        """Scrape, or wait for the result of a scrape of the same kind that is at work."""
        kind = tuple(
            environ.get(name) or ""
            for name in ("QUERY_STRING", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING")
        )
        with self._changed:
            running = self._scrapes.get(kind)
            if running is None:
                own = self._scrapes[kind] = Future()
        if running is not None:
            return running.result()
        try:
            own.set_result(self._scrape(environ))
        except BaseException as error:
            own.set_exception(error)
            raise
        finally:
            with self._changed:
                del self._scrapes[kind]
        return own.result()

    def _scrape(self, environ: dict[str, Any]) -> Answer:
        started: list[Any] = []
        # A scrape of a directory that is gone would look like one of a service without metrics.
        error = directory.unreadable(self._path)
        if not error:
            try:
                parts = self._metrics(
                    {**environ, "REQUEST_METHOD": "GET"}, lambda *start: started.extend(start)
                )
                return Answer(started[0], started[1], b"".join(parts))
            except OSError as failed:
                error = f"cannot read the metrics: {failed}"
        logger.warning("%s", error)
        return _plain("503 Service Unavailable", error)


def _plain(status: str, text: str) -> Answer:
    return Answer(status, [("Content-Type", _PLAIN)], f"{text}\n".encode(errors="backslashreplace"))
