"""The WSGI application of the drills, which also counts requests by path, and works on demand."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import wsgi_app
from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SECONDS_OF_WORK = 0.02
PATHS = Counter("app_paths", "Requests by their path.", ["path"])


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the application of the drills does; /burn with the pid and the processor time."""
    PATHS.labels(environ["PATH_INFO"]).inc()
    if environ["PATH_INFO"] == "/burn":
        until = time.process_time() + SECONDS_OF_WORK
        while time.process_time() < until:
            pass
        body = f"{os.getpid()} {time.process_time()}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    return wsgi_app.app(environ, start_response)
