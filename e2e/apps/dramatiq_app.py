"""An actor of dramatiq with its Prometheus middleware, and a web server that sends it messages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import multiprom

multiprom.install()

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.prometheus import Prometheus
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=os.environ["BROKER"])
if not any(isinstance(each, Prometheus) for each in broker.middleware):
    broker.add_middleware(Prometheus())
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BROKER"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True, max_retries=0)
def answer() -> int:
    """Answer with the pid of the worker."""
    return os.getpid()


def main() -> None:
    """Start dramatiq, and serve until told to end; the page is dramatiq's own."""
    import front

    words = [f"{os.path.dirname(sys.executable)}/dramatiq", "dramatiq_app"]  # noqa: PTH120
    worker = subprocess.Popen([*words, "--processes=2", "--threads=2"])

    def submit(_: str) -> int:
        pid: int = answer.send().get_result(block=True, timeout=5000)
        return pid

    def reload(*_: object) -> None:
        worker.send_signal(signal.SIGHUP)

    signal.signal(signal.SIGTERM, lambda *_: worker.send_signal(signal.SIGTERM))
    signal.signal(signal.SIGHUP, reload)
    front.serve(int(os.environ["PORT"]), submit, bytes)
    sys.exit(worker.wait())


if __name__ == "__main__":
    main()
