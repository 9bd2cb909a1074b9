"""The calls that LiteLLM, vLLM and SGLang make for their metrics, in their order.

Their servers need models and accelerators, so what they serve is played; how they set the variable,
import prometheus_client, start processes, serve the page and mark the dead is theirs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import multiprom

multiprom.install()

WORKERS = 2


def litellm(port: int) -> None:
    """Make a directory, wipe it, run gunicorn from code with a hook that marks dead workers."""
    folder = Path(tempfile.gettempdir()) / "llm_multiproc"
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    for path in folder.glob("*.db"):
        path.unlink()

    from gunicorn.app.base import BaseApplication

    def child_exit(_server: Any, worker: Any) -> None:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", f"127.0.0.1:{port}")
            self.cfg.set("workers", WORKERS)
            self.cfg.set("worker_class", "uvicorn_worker.UvicornWorker")
            self.cfg.set("preload_app", True)
            self.cfg.set("max_requests", 200)
            self.cfg.set("child_exit", child_exit)
            if "control_socket_disable" in self.cfg.settings:
                self.cfg.set("control_socket_disable", True)

        def load(self) -> Any:
            from asgi_app import app

            return app

    Application().run()


def _api_server(listener: socket.socket) -> None:
    import uvicorn
    from asgi_app import app

    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def vllm(port: int) -> None:
    """Make a directory that goes with this process, spawn servers, mark this process at the end."""
    folder = tempfile.TemporaryDirectory(prefix="llm_multiproc")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(100)
    context = multiprocessing.get_context("spawn")
    servers = [context.Process(target=_api_server, args=[listener]) for _ in range(WORKERS)]
    for server in servers:
        server.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for server in servers:
            server.join()
    finally:
        for server in servers:
            server.terminate()
            server.join()
        from prometheus_client import multiprocess

        # It hands over the object, not its name; prometheus_client raises a TypeError, which vLLM
        # catches.
        with contextlib.suppress(TypeError):
            multiprocess.mark_process_dead(os.getpid(), folder)
        folder.cleanup()


def sglang(port: int) -> None:
    """Make a directory, import prometheus_client only then, count in spawned processes."""
    folder = tempfile.TemporaryDirectory(prefix="llm_multiproc")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name

    import front
    import pool_app
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess

    pool = pool_app.Executor("spawn")
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    front.serve(port, pool.submit, lambda: generate_latest(registry))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    pool.end()
    folder.cleanup()
    front.leave()


if __name__ == "__main__":
    {"litellm": litellm, "vllm": vllm, "sglang": sglang}[sys.argv[1]](int(sys.argv[2]))
