"""What is done to a gunicorn server under load, besides killing workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

from drill import kill

if TYPE_CHECKING:
    from drill import Load
    from service import Service


def _tell_master(service: Service, sent: signal.Signals) -> None:
    os.kill(service.master, sent)


def reload(service: Service, load: Load) -> None:
    """Let the master replace all workers (HUP)."""
    del load
    _tell_master(service, signal.SIGHUP)


def more_workers(service: Service, load: Load) -> None:
    """Add a worker (TTIN)."""
    del load
    _tell_master(service, signal.SIGTTIN)


def fewer_workers(service: Service, load: Load) -> None:
    """Take a worker away (TTOU)."""
    del load
    _tell_master(service, signal.SIGTTOU)


def upgrade(service: Service, load: Load) -> None:
    """Start a second master (USR2) and end the first one (TERM) when the second one serves."""
    old = service.master
    file = service.folder / "pid.2"
    _tell_master(service, signal.SIGUSR2)
    service.until(lambda: file.exists() and file.read_text().strip(), "start a second master")
    new = int(file.read_text())

    def serves() -> bool:
        load.ask()
        return any(_parent(pid) == new for pid in load.recent())

    service.until(serves, "serve with the second master")
    service.master = new
    os.kill(old, signal.SIGTERM)
    service.until(lambda: old not in service.living(), "end the first master", seconds=40)
    service.until(lambda: not file.exists(), "take over its file")


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return int(stat.read().rpartition(") ")[2].split()[1])
    return 0


def hang(service: Service, load: Load) -> None:
    """Send a request that never ends, until its worker is killed by the master's `--timeout`."""
    before = service.log.count("WORKER TIMEOUT")
    threading.Thread(target=load.ask, args=["/hang"], daemon=True).start()
    service.until(lambda: service.log.count("WORKER TIMEOUT") > before, "lose its patience")


def fail_to_boot(service: Service, load: Load) -> None:
    """Replace the application by one that does not boot: the server ends. Start it anew."""
    broken = service.folder / "broken"
    broken.touch()
    kill(service, load)
    service.until(lambda: not service.living(), "end when its workers do not boot")
    assert service.process.wait(10) == 3, service.log
    broken.unlink()
    _start_anew(service, load)


def kill_master(service: Service, load: Load) -> None:
    """Kill the master and start another one on the same directory, while its workers live."""
    os.kill(service.master, signal.SIGKILL)
    service.process.wait(10)
    earlier = service.process.pid
    _start_anew(service, load)
    service.until(lambda: not service.living(earlier), "lose the workers of the killed master")


def _start_anew(service: Service, load: Load) -> None:
    # Its port is taken while workers of the last one live.
    service.launch()
    service.master = service.process.pid
    with load.paused():
        service.until(lambda: _answers_with(service), "start anew", seconds=40)
        time.sleep(0.5)
        load.begin_anew()


def _answers_with(service: Service) -> bool:
    assert service.process.poll() is None, service.log
    with contextlib.suppress(OSError):
        status, body = service.get("/")
        return status == 200 and _parent(int(body)) == service.master
    return False


def kill_dirty_worker(service: Service, load: Load) -> None:
    """Kill a dirty worker, which a scrape shows."""
    del load
    for name, value in service.scrape().items():
        match = re.fullmatch(r'dirty_worker\{pid="(\d+)"\}', name)
        # Its parent has the gauge, too, at 0.
        if match and value == 1 and int(match[1]) in service.living():
            os.kill(int(match[1]), signal.SIGKILL)
            return
