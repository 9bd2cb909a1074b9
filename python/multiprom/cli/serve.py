"""Serves the metrics of all processes over HTTP, from a process of its own.

/metrics has the metrics; scrapes that overlap share one result. /-/healthy says whether the
directory can be read. SIGTERM and Ctrl-C end the server when the scrapes at work are answered.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import multiprom
from multiprom import _core
from multiprom.cli import directory, output, ranges
from multiprom.cli.failure import DONE, USAGE, Failure, reason

if TYPE_CHECKING:
    import argparse
    import threading
    from wsgiref.simple_server import WSGIServer

HELP = "serve the metrics over HTTP"
EXAMPLES = """\
examples:
  multiprom serve /run/metrics
  multiprom serve --addr 0.0.0.0 --port 9100
  multiprom serve --certfile server.pem --keyfile server.key --client-cafile clients.pem \\
    --client-auth-required
"""

_PORT = 9464
# A client that connects and says nothing keeps a thread so long.
_CLIENT_SECONDS = 30
# So many connections may wait until the server accepts them.
_WAITING = 128
END_SECONDS = 5.0
"""So long the scrapes at work may take when the server is to end."""
_ENDS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger("multiprom")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    parser.add_argument(
        "--addr", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this host only)"
    )
    parser.add_argument(
        "--port",
        type=ranges.number(int, "a port", 0, ranges.PORT_MAX),
        default=_PORT,
        help=f"(default: {_PORT}; 0 for a free one)",
    )
    tls = parser.add_argument_group("TLS", "all paths are of PEM files")
    tls.add_argument("--certfile", metavar="FILE", help="the certificate of the server")
    tls.add_argument("--keyfile", metavar="FILE", help="its private key")
    tls.add_argument("--client-cafile", metavar="FILE", help="who signs clients' certificates")
    tls.add_argument("--client-capath", metavar="FOLDER", help="the same, as a folder")
    tls.add_argument(
        "--client-auth-required",
        action="store_true",
        help="refuse clients without such a certificate",
    )
    output.add_json_to(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    path = directory.readable(options)
    tls = _tls(options)
    # Blocked in the threads of the server too, which start with the mask of this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    _core.show_workers(shows=True)
    server, thread, url = start(path, options.addr, options.port, tls)
    if options.json:
        output.print_json("serve", {"directory": path, "url": url}, on_one_line=True)
    else:
        output.print_text(output.printable(f"serving the metrics of {path} at {url}"))
    signal.sigwait(_ENDS)
    stop(server, thread)
    return DONE


def _tls(options: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments for TLS as prometheus_client takes them, if it is asked for."""
    names = ("certfile", "keyfile", "client_cafile", "client_capath", "client_auth_required")
    given = {name: value for name in names if (value := getattr(options, name))}
    if given and not {"certfile", "keyfile"} <= given.keys():
        # prometheus_client would serve without TLS then.
        raise Failure("TLS needs both --certfile and --keyfile", USAGE)
    return given


def start(
    path: str, addr: str, port: int, tls: dict[str, Any]
) -> tuple[WSGIServer, threading.Thread, str]:
    """Start a server for the metrics of a directory, in a thread; give both, and its address.

    Raises Failure if it cannot listen there.
    """
    scrapes = importlib.import_module("multiprom.cli.scrapes")
    host = f"[{addr}]" if ":" in addr else addr
    try:
        server, thread = multiprom.start_http_server(port, addr, **tls)
    except OSError as error:
        raise Failure(f"cannot serve at {host}:{port}: {reason(error)}") from None
    # Once more, with room for more than the five connections that Python lets wait.
    server.socket.listen(_WAITING)
    server.set_app(scrapes.Application(path))
    if tls:
        # In the thread of the client: one that does not go on with it must not keep out others.
        server.socket.do_handshake_on_connect = False  # type: ignore[attr-defined]
    handler: Any = server.RequestHandlerClass
    server.RequestHandlerClass = type("Handler", (handler,), {"timeout": _CLIENT_SECONDS})
    server.handle_error = _handle_error  # type: ignore[method-assign, assignment]
    return server, thread, f"{'https' if tls else 'http'}://{host}:{server.server_port}/metrics"


def _handle_error(_request: Any, client: Any) -> None:
    """Say in one line that a client went away or spoke no HTTP."""
    logger.info("no answer to %s: %s", client, sys.exc_info()[1])


def stop(server: WSGIServer, thread: threading.Thread) -> None:
    """End the server when the scrapes at work are answered, but in a few seconds at the latest."""
    server.shutdown()
    thread.join()
    server.server_close()
    application: Any = server.get_app()
    application.wait_until_idle(END_SECONDS)
