"""gunicorn configuration that runs a server in multiprocess mode.

Name it on the command line, and the application needs no change::

    gunicorn -c python:multiprom.gunicorn app:app

or take the hook into a configuration file of your own, before anything in that file imports
prometheus_client::

    from multiprom.gunicorn import child_exit

Importing the module does three things, in this order:

1. It makes sure of the directory. If ``PROMETHEUS_MULTIPROC_DIR`` (or
   ``prometheus_multiproc_dir``) names one, in the environment or in gunicorn's ``raw_env`` setting
   (``--env``), it is created where it is missing. Otherwise the server gets a private temporary
   directory, and ``PROMETHEUS_MULTIPROC_DIR`` is set to it for this process and its children. The
   last process of the server to leave removes it.
2. It calls :func:`multiprom.install`.
3. It imports ``prometheus_client.multiprocess``, so that the hooks need not.

A private directory belongs to the user who starts gunicorn and to nobody else. A server that starts
as root and gives its rights up (gunicorn's ``user`` setting) must therefore name a directory that
its workers can write to.

A configuration file that names the directory itself must do so before it imports this module,
better in ``os.environ`` than in ``raw_env``: what it assigns to ``raw_env`` afterwards cannot be
seen here, and gunicorn would send the workers to a directory that nobody has made.

gunicorn applies every global of a configuration that is named like one of its settings. Apart from
the three hooks no global here may have such a name; a test holds them against gunicorn's list.

Sources of the behaviour that this module relies on: gunicorn's documentation of the server hooks
(https://docs.gunicorn.org/en/stable/settings.html#server-hooks) and of live upgrades with USR2
(https://docs.gunicorn.org/en/stable/signals.html), and prometheus_client's of multiprocess mode
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import inspect
import logging
import os
import shutil
import stat
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
from multiprom import _core, compaction, sign_of_life
from multiprom.environment import OLD_VARIABLE, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["child_exit", "dirty_worker_exit", "on_starting"]


# Tells a process that inherits the environment that the directory is a private one, so that it
# joins those who keep it instead of taking it for the user's own.
_PRIVATE_VARIABLE = "MULTIPROM_PRIVATE_DIR"

_MULTIPROCESS = "prometheus_client.multiprocess"


def child_exit(server: Any, worker: Any) -> None:
    """Mark a worker that has just exited as dead: gunicorn's ``child_exit`` hook.

    Its ``live*`` gauges go, and what else it counted is folded into archives, unless
    ``MULTIPROM_COMPACTION`` is ``off``: see :func:`multiprom.compact`. If that has to wait, because
    another compaction is at work or something fails, it is done when the next worker exits.

    gunicorn calls it in the master, whichever way the worker went (``max_requests``, timeout,
    SIGKILL, out of memory). Before gunicorn 24 that is inside the handler of SIGCHLD, between any
    two bytecodes of the master. So no lock is taken here that is held while Python code runs, but
    the re-entrant ones of logging: the core's own is held for moments without the interpreter, and
    the directory's (``flock``) is waited for at most 50 ms.

    ``server`` is the ``gunicorn.arbiter.Arbiter``, whose ``log`` is used if it has one, else the
    ``multiprom`` logger. ``worker`` is the ``gunicorn.workers.base.Worker`` that exited, whose
    ``pid`` is used.

    Does nothing if ``PROMETHEUS_MULTIPROC_DIR`` is unset or empty in both its spellings. Raises
    nothing: an exception in this hook would stop the server, so every ``Exception`` becomes one
    warning in the log. See https://docs.gunicorn.org/en/stable/settings.html#child-exit.
    """
    _mark_dead(server, worker)


def on_starting(server: Any) -> None:
    """Remove what an earlier run left in the directory: gunicorn's ``on_starting`` hook.

    Nothing is removed if another server lives that has called this hook on the same directory, or
    if another living process holds a file there; nor by the new master of an upgrade (USR2), nor
    with ``MULTIPROM_COMPACTION=off``. What this process holds itself stays: with ``preload_app``
    the application has been loaded by now.

    From then on the server gives a sign of life: in a directory that the user has named it keeps
    the file ``.multiprom.users.lock`` locked until the last of its processes ends.

    ``server`` is the ``gunicorn.arbiter.Arbiter``, whose ``log`` is used if it has one, else the
    ``multiprom`` logger. Raises nothing. See
    https://docs.gunicorn.org/en/stable/settings.html#on-starting.
    """
    try:
        path = _directory_in_environment()
        if not path or not _core.is_automatic():
            return
        log = _log_of(server)
        # The new master of an upgrade knows the old one, whose workers may hold nothing just now.
        is_upgrade = bool(getattr(server, "master_pid", 0))
        with _sign_of_life(path, log, joins=is_upgrade) as is_alone:
            if is_upgrade:
                return
            if is_alone:
                _remove_leftovers(path, log)
            else:
                log.info("kept all metrics files of an earlier run: another server uses them")
    except Exception as error:  # noqa: BLE001 - whatever it is, the server shall start
        with contextlib.suppress(Exception):
            _log_of(server).warning("could not remove what an earlier run left: %s", _told(error))


@contextlib.contextmanager
def _sign_of_life(path: str, log: Any, *, joins: bool) -> Iterator[bool]:
    """Say whether no other server lives, as far as that can be known; see `sign_of_life.given`."""
    with contextlib.ExitStack() as stack:
        is_alone = True
        # A private directory has a lock of its own, and no other servers.
        if _private is None or _private.path != path:
            try:
                is_alone = stack.enter_context(sign_of_life.given(path, joins=joins))
            except TimeoutError:
                raise
            except OSError as error:
                with contextlib.suppress(Exception):
                    log.info("this server gives others no sign of life: %s", _told(error))
        yield is_alone


def _remove_leftovers(path: str, log: Any) -> None:
    files, kept = _core.remove_leftovers(path, 0.0)
    if files:
        log.info("removed %d metrics files of an earlier run", files)
    if kept is not None:
        which = "the other" if files else "all"
        log.info("kept %s metrics files of an earlier run: %s", which, kept)


def dirty_worker_exit(arbiter: Any, worker: Any) -> None:
    """Mark a dirty worker that has exited as dead: the ``dirty_worker_exit`` hook of gunicorn 25.

    ``arbiter`` is the ``gunicorn.dirty.arbiter.DirtyArbiter``, whose ``log`` is used if it has one,
    else the ``multiprom`` logger. ``worker`` is the ``gunicorn.dirty.worker.DirtyWorker`` that
    exited, whose ``pid`` is used.

    Raises nothing and does what :func:`child_exit` does for ordinary workers. Older versions of
    gunicorn do not know the name and leave it alone. See
    https://docs.gunicorn.org/en/stable/settings.html#dirty-worker-exit.
    """
    _mark_dead(arbiter, worker)


def _mark_dead(server: Any, worker: Any) -> None:
    try:
        path = _directory_in_environment()
        if not path:
            return
        pid = worker.pid
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the server
        with contextlib.suppress(Exception):
            text = "could not mark worker of unknown pid as dead: %s"
            _log_of(server).warning(text, _told(error))
        return
    try:
        # Looked up at each call: the function may be patched, and the module imported anew. Not by
        # an import statement, which may wait for a lock that the interrupted thread holds.
        module = sys.modules.get(_MULTIPROCESS) or importlib.import_module(_MULTIPROCESS)
        module.mark_process_dead(pid)
    except Exception as error:  # noqa: BLE001 - as above
        with contextlib.suppress(Exception):
            _log_of(server).warning("could not mark worker %s as dead: %s", pid, _told(error))
    else:
        with contextlib.suppress(Exception):
            _log_of(server).info("marked worker %s as dead", pid)
    _fold(server, pid)
    # Where the directory was full, or locked, when the server started.
    with contextlib.suppress(Exception):
        sign_of_life.renew(path)


def _fold(server: Any, pid: Any) -> None:
    try:
        done = compaction.fold(_directory_in_environment(), pid)
    except Exception as error:  # noqa: BLE001 - as above; the files stay, and count
        with contextlib.suppress(Exception):
            _log_of(server).warning("could not fold the files of worker %s: %s", pid, _told(error))
    else:
        if done.left_alone:
            text = "left %d files of dead workers alone, such as %r: %s"
            with contextlib.suppress(Exception):
                _log_of(server).debug(text, len(done.left_alone), *done.left_alone[0])


def _told(error: Exception) -> str:
    """Say what an error is; only the text of an OSError has the path."""
    return f"{type(error).__name__}: {error}"


def _log_of(server: Any) -> Any:
    """Return the server's own log, or the ``multiprom`` logger where it has none."""
    log = getattr(server, "log", None)
    return logging.getLogger("multiprom") if log is None else log


def _directory_in_environment() -> str:
    """Return the directory that the environment names, in either spelling, or an empty string."""
    return os.environ.get(VARIABLE) or os.environ.get(OLD_VARIABLE) or ""


class _PrivateDirectory:
    """A temporary directory that its last user removes.

    The users are the master, its forks (workers, the daemon that gunicorn's ``daemon`` setting
    forks) and the new master of a USR2 upgrade. Each holds a shared lock on one file in the
    directory through a descriptor of its own, and a leaving process removes the directory if it
    can get that lock for itself alone. The kernel drops the locks of a killed process, so nobody
    waits for the dead, and an orphaned worker keeps what it still writes to.
    """

    _LOCK_NAME = "users.lock"

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._has_own_lock = True
        os.register_at_fork(after_in_child=self._take_own_lock)
        atexit.register(self._leave)

    @classmethod
    def create(cls) -> _PrivateDirectory:
        """Make a new one; raises OSError if there is no place for temporary files."""
        path = tempfile.mkdtemp(prefix="multiprom-")
        return cls(path, cls._lock(path, os.O_CREAT))

    @classmethod
    def join(cls, path: str) -> _PrivateDirectory | None:
        """Become one more user of an existing one, or return None if it is gone or not ours."""
        try:
            found = os.lstat(path)
            # The path lies in a directory that everybody may write to.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                return None
            return cls(path, cls._lock(path))
        except OSError:
            return None

    @classmethod
    def _lock(cls, path: str, flags: int = 0) -> int:
        """Open the lock file and share its lock, and return the descriptor that holds it.

        Raises OSError if there is no lock file, or somebody is just removing the directory.
        """
        name = Path(path, cls._LOCK_NAME)
        descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # Between opening and locking the last user may have gone and removed it.
            name.stat()
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _take_own_lock(self) -> None:
        """Replace the lock that a fork shares with its parent by one of its own."""
        inherited = self._descriptor
        try:
            self._descriptor = self._lock(self.path)
        except OSError:
            # Keep the shared one, which still keeps the directory. It must not be turned into an
            # exclusive one at exit, because that would be the parent's lock too.
            self._has_own_lock = False
        else:
            self._has_own_lock = True
            os.close(inherited)

    def _leave(self) -> None:
        if not self._has_own_lock:
            return
        # A conversion gives up the shared lock before it asks for the exclusive one, so of two
        # processes that leave at once, the second cannot be refused because of the first.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)
        self._has_own_lock = False


def _prepare_directory() -> _PrivateDirectory | None:
    """Make sure that the environment names a directory that exists.

    Returns the private directory, or None if the user has named one. Raises OSError if it cannot
    be created; gunicorn prints the message and ends.
    """
    os.environ.update(_variables_in_raw_env())
    path = _directory_in_environment()
    private_path = os.environ.get(_PRIVATE_VARIABLE, "")
    if path and path != private_path:
        # Workers of this server must not take the directory for the private one of another.
        os.environ.pop(_PRIVATE_VARIABLE, None)
        _create_directory(path)
        # prometheus_client goes by the upper-case name if it is there at all, even if it is empty,
        # and warns in every process that finds only the other.
        os.environ[VARIABLE] = path
        return None
    private = _PrivateDirectory.join(private_path) if private_path else None
    if private is None:
        private = _PrivateDirectory.create()
    os.environ[VARIABLE] = os.environ[_PRIVATE_VARIABLE] = private.path
    _tell_next_master(private.path)
    return private


def _create_directory(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot create the directory that {VARIABLE} names ({error.strerror})"
        raise OSError(error.errno, reason, path) from None


def _variables_in_raw_env() -> dict[str, str]:
    """Return the variables for the directory that gunicorn's ``raw_env`` setting has.

    gunicorn puts them into the environment only after it has read its configuration. The command
    line wins over ``GUNICORN_CMD_ARGS``, that over the configuration file, and that over the
    application's defaults; lists are not joined.
    """
    configuration, *loading = _loading_frames()
    if not loading:
        return {}
    sources = [names.get(name) for names in loading for name in ("args", "env_args")]
    found = [getattr(source, "raw_env", None) for source in sources]
    found.append(configuration.get("raw_env"))
    found += [getattr(settings, "raw_env", None) for settings in _settings_in(loading)]
    raw_env = next((value for value in found if value is not None), ())
    pairs = [raw_env] if isinstance(raw_env, str) else raw_env
    split = (str(pair).strip().partition("=") for pair in pairs)
    return {name: value for name, _, value in split if name in (VARIABLE, OLD_VARIABLE)}


def _tell_next_master(path: str) -> None:
    """Put the private directory into the environment that a USR2 upgrade starts from.

    gunicorn executes the new master with ``Config.env_orig``, a copy of the environment from before
    it read its configuration, which lacks what this module has exported since. Old and new workers
    answer on one socket for a while, and from two directories they would give totals that jump to
    and fro. Where that copy is not found, the new master makes a private directory of its own and
    counts from zero, as after a restart.
    """
    for settings in _settings_in(_loading_frames()):
        environment = getattr(settings, "env_orig", None)
        if isinstance(environment, dict):
            environment[_PRIVATE_VARIABLE] = path
            return


def _loading_frames() -> list[dict[str, Any]]:
    """Return the names in the configuration that is just loaded, then in gunicorn's own frames.

    They are the only way from a configuration to the gunicorn that loads it; innermost first. If
    nobody loads a configuration, there are no frames of gunicorn's.
    """
    configuration: dict[str, Any] = {}
    loading: list[dict[str, Any]] = []
    for frame, _ in traceback.walk_stack(inspect.currentframe()):
        if frame.f_globals.get("__name__") == "gunicorn.app.base":
            loading.append(frame.f_locals)
        elif not loading and frame.f_code.co_name == "<module>":
            configuration = frame.f_globals
    return [configuration, *loading]


def _settings_in(frames: list[dict[str, Any]]) -> list[Any]:
    """Return the ``gunicorn.config.Config`` of each frame that is a method of an application."""
    settings = (getattr(names.get("self"), "cfg", None) for names in frames)
    return [found for found in settings if found is not None]


# The order matters: prometheus_client chooses its value class by the variable when it is imported.
_private = _prepare_directory()
multiprom.install()
importlib.import_module(_MULTIPROCESS)
