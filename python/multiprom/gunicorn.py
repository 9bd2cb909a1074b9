"""gunicorn configuration that runs a server in multiprocess mode.

Name it on the command line, and the application needs no change::

    gunicorn -c python:multiprom.gunicorn app:app

or take the hooks into a configuration file: ``from multiprom.gunicorn import *``.

Importing the module makes sure of the directory and calls :func:`multiprom.install`. If
``PROMETHEUS_MULTIPROC_DIR`` (or ``prometheus_multiproc_dir``) names a directory, in the environment
or in gunicorn's ``raw_env`` setting, it is made where it is missing. Otherwise the server gets a
private directory among the temporary files, which it removes when it ends. After a server that was
killed, the next one that the same user starts removes it.

``child_exit`` alone is enough for most servers. The other hooks add: a directory that ``raw_env``
names, or that is relative to ``chdir``, is there before a preloaded application counts, and has
what the configuration counted; one that root makes belongs to the server's ``user``; what an
earlier run has left in it is removed; scrapes show workers; MULTIPROM_METRICS_ADDR has an effect.

gunicorn applies every global of a configuration that is named like one of its settings, so only the
hooks have such names here: https://docs.gunicorn.org/en/stable/settings.html#server-hooks
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import multiprom
from multiprom import _core, private
from multiprom._core import post_fork, post_request, pre_request, worker_exit
from multiprom.environment import VARIABLE, named_directory

__all__ = ["child_exit", "dirty_worker_exit", "nworkers_changed", "on_starting"]
__all__ += ["post_fork", "post_request", "pre_fork", "pre_request", "worker_exit"]

_MULTIPROCESS = "prometheus_client.multiprocess"


class _Server:
    master = os.getpid()
    private = ""  # The private directory, if there is one.
    made = ""  # The directory that had to be made.


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """Make sure of the directory before the application is loaded: ``nworkers_changed`` hook.

    gunicorn calls it first of all when a server starts, with None as ``old_value``, and later when
    the number changes. Raises RuntimeError, which ends the start, if there can be no directory.
    """
    with nullcontext() if old_value is None else _warning(server, "go on in another directory"):
        _prepare(server.cfg, server)
        _core.set_configured(new_value)


def on_starting(server: Any) -> None:
    """Remove what an earlier run left in the directory: gunicorn's ``on_starting`` hook.

    Nothing is removed if another process uses the directory, by the new master of an upgrade, or
    with ``MULTIPROM_COMPACTION=off``. The files of this process stay: with ``preload_app`` the
    application has been loaded by now. Raises as `nworkers_changed`.
    """
    _prepare(getattr(server, "cfg", None), server)
    with _warning(server, "remove what an earlier run left"):
        if not getattr(server, "master_pid", 0) and _core.is_automatic():
            files, kept = _core.remove_leftovers(named_directory(), 0.0)
            if files:
                _log(server, "info", "removed %d metrics files of an earlier run", files)
            if kept is not None:
                which = "the other" if files else "all"
                _log(server, "info", "kept %s metrics files of an earlier run: %s", which, kept)


def pre_fork(server: Any, worker: Any) -> None:
    """Count a worker that starts, and have the metrics served: ``pre_fork`` hook."""
    _core.pre_fork(server, worker)
    with _warning(server, "serve the metrics where MULTIPROM_METRICS_ADDR says"):
        importlib.import_module("multiprom.cli.port").keep(getattr(server, "cfg", None))


def child_exit(server: Any, worker: Any) -> None:
    """Mark a worker that has just exited as dead: ``child_exit`` hook. Raises nothing.

    Its ``live*`` gauges go, and what else it counted is folded into archives, unless
    ``MULTIPROM_COMPACTION`` is ``off``: see :func:`multiprom.compact`. If folding has to wait, the
    next exit of a worker does it. gunicorn calls this in the master, before gunicorn 24 inside the
    handler of SIGCHLD: so this takes no lock that is held while Python code runs, but logging's.
    """
    _mark_dead(server, worker)
    _core.count_exit(worker)
    _Server.master = os.getpid()
    with suppress(Exception):  # Once more: the disk may have been full.
        _core.hold_slot(named_directory(), "master")


def dirty_worker_exit(arbiter: Any, worker: Any) -> None:
    """Mark a dirty worker that has exited as dead: ``dirty_worker_exit`` hook of gunicorn 25."""
    _mark_dead(arbiter, worker)


def _mark_dead(server: Any, worker: Any) -> None:
    path, pid = named_directory(), None
    with _warning(server, "mark worker of unknown pid as dead"):
        pid = worker.pid if path else None
    if pid is None:
        return
    with _warning(server, f"mark worker {pid} as dead"):
        # It may be patched or imported anew. An `import` might wait for an interrupted thread.
        module = sys.modules.get(_MULTIPROCESS) or importlib.import_module(_MULTIPROCESS)
        module.mark_process_dead(pid)
        _log(server, "info", "marked worker %s as dead", pid)
    with _warning(server, f"fold the files of worker {pid}"):  # If not, they stay, and count.
        _core.fold_dead(path, str(pid))


def _log(server: Any, level: str, text: str, *arguments: object) -> None:
    with suppress(Exception):
        log = getattr(server, "log", None) or logging.getLogger("multiprom")
        getattr(log, level)(text, *arguments)


@contextmanager
def _warning(server: Any, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the server
        _log(server, "warning", "could not %s: %s: %s", what, type(error).__name__, error)


def _prepare(cfg: Any, server: Any = None) -> None:
    """Make sure that a variable names a directory which exists; `cfg` is None at the import."""
    path = named_directory(getattr(cfg, "env", None)) or named_directory()
    is_private = path in ("", _Server.private) or private.is_of_old_master(path)
    if is_private:
        path = _Server.private = path or _Server.private or private.find_or_make()
    # prometheus_client takes this variable if it is there at all, and warns of the lower-case one.
    os.environ[VARIABLE] = path
    if cfg is None and not os.path.isabs(path):  # noqa: PTH117
        return  # It is relative to `chdir`, which gunicorn does not know yet.
    try:
        if not os.path.isdir(path):  # noqa: PTH112
            Path(path).mkdir(parents=True, exist_ok=True)
            _Server.made = path
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        text = f"cannot create the directory that {VARIABLE} names ({why}): {path}"
        raise RuntimeError(text) from None
    _core.hold_slot(path, "master")
    if cfg is not None:
        _Server.master = os.getpid()
        # What counts already moves on to a directory that was not known at the import.
        multiprom.install()
        _core.write_unwritten()
        if is_private:
            # The environment from which an upgrade (USR2) starts the new master.
            cfg.env_orig[VARIABLE] = path
            private.in_use(cfg.uid)
        else:
            _leave()
        if path in (_Server.made, _Server.private) and os.geteuid() == 0 != cfg.uid:
            with _warning(server, f"give {path} to user {cfg.uid} (make it for that user)"):
                for found in (Path(path), *Path(path).iterdir()):
                    os.chown(found, cfg.uid, cfg.gid, follow_symlinks=False)


def _hold_slot_in_child() -> None:
    with suppress(Exception):
        path = named_directory()
        if path and path != _Server.private:
            # Where only `child_exit` was imported, nobody has made it before.
            Path(path).mkdir(parents=True, exist_ok=True)
        _core.hold_slot(path, "worker")


def _leave() -> None:
    path, _Server.private = _Server.private, ""
    if path:
        if os.environ.get(VARIABLE) == path:
            # Before gunicorn 24 a signal handler may call `child_exit` now, which would make files.
            os.environ.pop(VARIABLE, None)
        # The kernel frees the slots of workers that gunicorn has just killed a little later.
        private.remove(path, wait_seconds=1.0 if os.getpid() == _Server.master else 0.0)


_core.show_workers(shows=True)
_prepare(None)
os.register_at_fork(after_in_child=_hold_slot_in_child)
atexit.register(_leave)
multiprom.install()
importlib.import_module(_MULTIPROCESS)
