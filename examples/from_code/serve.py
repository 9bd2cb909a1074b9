"""A program that starts gunicorn itself, from code, so that it has no `-c`.

LiteLLM's proxy does it in this way.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import multiprom
from gunicorn.app.base import BaseApplication

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types here
    """gunicorn, with its settings from a dictionary."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the settings."""
        self.options = options
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn the settings; no file and no command line is read."""
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        """Return the application, which each worker asks for."""
        from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
        from prometheus_client.multiprocess import MultiProcessCollector

        requests = Counter("shop_requests", "Requests answered.")
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        metrics = make_wsgi_app(registry)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/metrics":
                answer: Iterable[bytes] = metrics(environ, start_response)
                return answer
            requests.inc()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello\n"]

        return app


def main() -> None:
    """Serve, with a directory for the metrics that ends with the program."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        multiprom.install()
        # Imported only now: without the variable it would make a directory of its own.
        from multiprom.gunicorn import child_exit

        port = os.environ.get("PORT", "8000")
        Server({"bind": f"127.0.0.1:{port}", "workers": 4, "child_exit": child_exit}).run()


if __name__ == "__main__":
    main()
