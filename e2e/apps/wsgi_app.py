"""A WSGI application that counts its requests and shows what all its workers have counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import counting
from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

METRICS = make_wsgi_app(counting.registry())

if Path("broken").exists():
    raise RuntimeError("this application does not boot")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer /metrics with a scrape and anything else with the pid of the worker."""
    if environ["PATH_INFO"] == "/metrics":
        scrape: Iterable[bytes] = METRICS(environ, start_response)
        return scrape
    body = counting.work(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
