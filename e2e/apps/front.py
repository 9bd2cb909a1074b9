"""A small web server before a pool of processes: each request is a task for the pool."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(
    port: int, submit: Callable[[str], object], scrape: Callable[[], bytes]
) -> ThreadingHTTPServer:
    """Serve in threads: /metrics is a scrape, anything else is submitted, and answered by a pid.

    What raises, such as a task whose process was killed, is answered with 503.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 200
            if self.path == "/metrics":
                body = scrape()
            else:
                try:
                    body = str(submit(self.path)).encode()
                except Exception as error:  # noqa: BLE001, pools have errors of their own
                    status, body = 503, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 50

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that are gone."""

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def leave() -> None:
    """End without a look at threads that wait for processes which were killed."""
    os._exit(0)
