"""Serves the metrics of a gunicorn server at a port of its own, which MULTIPROM_METRICS_ADDR names.

`keep` starts a process beside the server's master, anew if it was killed. That process gives up
root's rights as workers do, and forks the process that serves, anew whenever it has ended. Both
look twice a second whether their parent lives: so they end with the master however it ends, also by
SIGKILL. They are a new program, without the descriptors, the memory and the patched modules of the
server.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import logging
import os
import posix
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from multiprom import _core, environment
from multiprom.cli import ranges
from multiprom.cli.failure import UNUSABLE, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "MULTIPROM_METRICS_ADDR"
"""Names the address."""

_LOOK_SECONDS = 0.5
# An upgrade's new master gets the port so soon after the old one has ended.
_RETRY_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 30.0
# A process that has served so long did not end because of what it found at its start.
_SOUND_SECONDS = 60.0
# A process that has not ended so long after SIGTERM is killed: it may be stopped (SIGSTOP).
_END_SECONDS = 2.0
# What these ask for is the master's to do, also if they are sent to all processes of the service.
_SIGNALS_OF_MASTER = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Imported before the rights of root are given up: another user may not be able to read the modules.
_NEEDED = ("multiprom.cli.serve", "multiprom.cli.scrapes", "multiprom.exposition", "encodings.idna")

logger = logging.getLogger("multiprom")


# Started with -I, which leaves the working directory and PYTHONPATH out. The search path is the
# master's, with the working directory last: no module of the application hides one of Python's.
_PROGRAM = """\
import json, sys
sys.path = json.loads(sys.argv[1])["path"]
from multiprom.cli import port
port.main()"""


class _Started:
    """The process that the master has started, and with which settings."""

    pid = 0
    master = 0
    settings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # Settings with an address that is none: the log was told of it.


def parse(address: str) -> tuple[str, int]:
    """Give the host and the port of an address such as `127.0.0.1:9464`, `[::1]:9464` or `:9464`.

    Raises ValueError if it is none.
    """
    found = re.fullmatch(
        r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>[0-9]{1,5})", address
    )
    if found is None or int(found["port"]) > ranges.PORT_MAX:
        text = f"{VARIABLE} is {address!r}, which is not HOST:PORT, such as 127.0.0.1:9464"
        raise ValueError(text)
    return found["six"] or found["host"] or "0.0.0.0", int(found["port"])  # noqa: S104 - as asked for


def keep(cfg: Any) -> None:
    """Start the process in this master unless it runs; end it if another one is wanted, or none.

    Called whenever a worker starts. Raises OSError if no process can be started, and ValueError if
    the address is none, but only once.
    """
    variables = {**os.environ, **getattr(cfg, "env", {})}
    address = variables.get(VARIABLE, "").strip()
    settings = (address, environment.named_directory())
    if settings == _Started.refused or (settings == _Started.settings and _is_running()):
        return
    _Started.refused = settings
    if address:
        parse(address)
    _Started.refused = ()
    _end_process()
    if address:
        _Started.pid = _start(cfg, variables, address)
        _Started.master, _Started.settings = os.getpid(), settings


def _start(cfg: Any, variables: dict[str, str], address: str) -> int:
    home = os.getcwd()  # noqa: PTH109
    settings = {
        "address": address,
        "master": os.getpid(),
        "owner": (cfg.uid, cfg.gid, cfg.initgroups),
        "error_log": "" if cfg.errorlog == "-" else os.path.abspath(cfg.errorlog),  # noqa: PTH100
        "level": cfg.loglevel.upper(),
        "path": sorted(map(os.path.abspath, sys.path), key=home.__eq__),
    }
    directory = os.path.abspath(environment.named_directory())  # noqa: PTH100
    # Not by `subprocess` or `os`: gevent patches both to watch the children of the master itself.
    return posix.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(settings)],
        {**variables, environment.VARIABLE: directory},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
        ],
        # The process leads a group of its own, which its child is in, too.
        setpgroup=0,
        # Before Python starts: it would print a traceback at Ctrl-C. Both processes keep it so.
        setsigmask=_SIGNALS_OF_MASTER,
    )


def _inheritable() -> Iterator[int]:
    """Give the descriptors that another program would inherit, such as of listening sockets."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - the names are enough
        descriptor = int(name)
        # That of the listing is closed by now.
        with contextlib.suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):  # noqa: PLR2004
                yield descriptor


def _is_running() -> bool:
    """Say whether the process runs that this one has started: a worker has started none."""
    if not _Started.pid or _Started.master != os.getpid():
        return False
    with contextlib.suppress(ProcessLookupError):
        # gunicorn waits for all children. If it has waited for this one, a worker may have its pid
        # now; but no worker leads a group.
        return os.getpgid(_Started.pid) == _Started.pid and _lives(_Started.pid)
    return False


def _lives(child: int) -> bool:
    try:
        return posix.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _end(child: int, kill: Callable[[int, int], None]) -> None:
    """Ask a child to end, kill it if it does not, and wait until it has ended."""
    for send, sent in ((os.kill, signal.SIGTERM), (kill, signal.SIGKILL)):
        deadline = time.monotonic() + _END_SECONDS
        if _lives(child):
            with contextlib.suppress(ProcessLookupError):
                send(child, sent)
        while _lives(child) and time.monotonic() < deadline:
            time.sleep(0.01)


def _end_process() -> None:
    """End the process, and wait until the port is free, so that the next server can have it."""
    if _is_running():
        _end(_Started.pid, os.killpg)
    _Started.pid = 0


atexit.register(_end_process)


class _ErrorLog(logging.Handler):
    """gunicorn's error log, opened for each line: it may be moved away at any time."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as log:
            log.write(f"{self.format(record)}\n")


def main() -> None:
    """Have the metrics served as long as the master lives."""
    settings = json.loads(sys.argv[1])
    os.chdir("/")
    signal.signal(signal.SIGTERM, _exit)
    handler = _ErrorLog(settings["error_log"]) if settings["error_log"] else logging.StreamHandler()
    # As gunicorn's own lines.
    line = logging.Formatter(
        "%(asctime)s [%(process)d] [%(levelname)s] %(message)s", "[%Y-%m-%d %H:%M:%S %z]"
    )
    handler.setFormatter(line)
    logger.addHandler(handler)
    level = logging.getLevelName(settings["level"])
    logger.setLevel(level if isinstance(level, int) else logging.INFO)
    try:
        for module in _NEEDED:
            importlib.import_module(module)
        importlib.import_module("gunicorn.util").set_owner_process(*settings["owner"])
        _watch(settings["address"], settings["master"])
    except Exception:
        # gunicorn 23 takes some exit codes of any child for those of a worker that does not boot.
        logger.exception("cannot serve the metrics at %s", settings["address"])


def _exit(*_: object) -> NoReturn:
    sys.exit(0)


def _watch(address: str, master: int) -> None:
    """Have a process serve while the master lives."""
    pause, is_refused = _PAUSE_SECONDS, False
    while os.getppid() == master:
        start = time.monotonic()
        try:
            child = os.fork()
        except OSError as error:
            # For a while there may be too many processes, or no memory for another one.
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            text = "no process serves the metrics (%s): another attempt in %g s"
            logger.warning(text, error, pause)
            _sleep(pause, master)
            continue
        if child == 0:
            _serve_and_exit(address, is_refused=is_refused)
        code = _wait(child, master)
        is_refused = code == UNUSABLE
        if is_refused:
            _sleep(_RETRY_SECONDS, master)
        elif code is not None:
            sound = time.monotonic() - start > _SOUND_SECONDS
            pause = _PAUSE_SECONDS if sound else min(2 * pause, _PAUSE_SECONDS_MAX)
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            text = "the process that serves the metrics has ended (%s): another one starts in %g s"
            logger.warning(text, how, pause)
            _sleep(pause, master)


def _wait(child: int, master: int) -> int | None:
    """Wait until the child has ended, and give its exit code; end it if the master has ended."""
    try:
        while os.getppid() == master:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                child = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(_LOOK_SECONDS)
    finally:
        # Also when SIGTERM has come.
        if child:
            _end(child, os.kill)
    return None


def _sleep(seconds: float, master: int) -> None:
    deadline = time.monotonic() + seconds
    while os.getppid() == master and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)


def _serve_and_exit(address: str, *, is_refused: bool) -> NoReturn:
    code = 1
    try:
        _serve(address)
        code = 0
    except SystemExit:
        code = 0
    except Failure as failure:
        code = UNUSABLE
        if not is_refused:
            # The master that an upgrade (USR2) replaces has the port until it ends.
            level = logging.INFO if "GUNICORN_PID" in os.environ else logging.WARNING
            logger.log(level, "%s; trying again every second", failure)
    except BaseException:
        logger.exception("cannot serve the metrics at %s", address)
    finally:
        os._exit(code)


def _serve(address: str) -> None:
    parent = os.getppid()
    serve = importlib.import_module("multiprom.cli.serve")
    _core.show_workers(shows=True)
    server, _, url = serve.start(environment.named_directory(), *parse(address), {})
    try:
        logger.info("serving the metrics at %s", url)
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
    finally:
        # Not by `shutdown`, which may take half a second: the master waits for this process.
        server.get_app().wait_until_idle(serve.END_SECONDS)
