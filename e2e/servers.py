"""The table of servers: how each is started, and what is done to it under load."""

from __future__ import annotations

from itertools import product
from typing import Any

import events
from drill import kill
from service import Action, Case
from support.gunicorn_server import CONFIGURATION
from support.users import USER

GUNICORN = ("{python}", "{root}/tests/support/apps/gunicorn_command.py", "--bind=127.0.0.1:{port}")
USER_SAYS = f"`--user {USER}`, SIGKILL"
# What gunicorn logs of a request whose worker is aborted.
ABORTED = r"(?s)Traceback.*?SystemExit: 1"
# What Celery logs of a task whose process was killed.
LOST = r"(?s)Traceback[^\[]*?WorkerLostError"
QUIET_NEWEST = ("--no-control-socket",)

# The worker classes, the application that they run, and how many versions of gunicorn have them.
CLASSES = {
    "sync": ("wsgi_app:app", ("newest", "23")),
    "gthread": ("wsgi_app:app", ("newest", "23")),
    "gevent": ("wsgi_app:app", ("newest", "23")),
    "tornado": ("wsgi_app:app", ("newest", "23")),
    "asgi": ("asgi_app:app", ("newest",)),
    "uvicorn_worker.UvicornWorker": ("asgi_app:app", ("newest", "23")),
}


def gunicorn(
    name: str, version: str, *options: str, app: str = "wsgi_app:app", **more: Any
) -> Case:
    """Return a case with gunicorn."""
    control = QUIET_NEWEST if version == "newest" else ()
    words = (*GUNICORN, *CONFIGURATION, "--workers=2", *control, *options, app)
    more.setdefault("does", "max_requests, SIGKILL")
    more.setdefault("actions", (kill,))
    return Case(f"gunicorn {name}", words, "gunicorn", gunicorn=version, **more)


def gunicorn_classes() -> list[Case]:
    """Return a case for each worker class and version, with and without preload."""
    cases = []
    for (name, (app, versions)), preload in product(CLASSES.items(), (False, True)):
        for version in versions:
            short = name.rpartition(".")[2]
            cases.append(
                gunicorn(
                    f"{short}{', preload' if preload else ''}",
                    version,
                    f"--worker-class={name}",
                    "--max-requests=200",
                    "--max-requests-jitter=50",
                    *(["--preload"] if preload else []),
                    app=app,
                    named=preload,
                    quick=version == "newest" and preload == (name in ("gthread", "asgi")),
                )
            )
    return cases


def event(
    name: str,
    does: str,
    *actions: Action,
    options: tuple[str, ...] = (),
    quick: bool = False,
    **more: Any,
) -> list[Case]:
    """Return what is done to a server of each version of gunicorn, in a private directory."""
    return [
        gunicorn(
            name,
            version,
            *("--worker-class=gthread", *options),
            does=does,
            actions=actions,
            quick=quick and version == "newest",
            **{"named": False, **more},
        )
        for version in ("newest", "23")
    ]


EVENTS = [
    *event("HUP", "HUP, SIGKILL", events.reload, kill, quick=True),
    *event("HUP, preload", "HUP, SIGKILL", events.reload, kill, options=("--preload",)),
    *event(
        "USR2",
        "USR2 then TERM, SIGKILL",
        *(kill, events.upgrade),
        options=("--pid=pid",),
        quick=True,
    ),
    *event(
        "TTIN, TTOU",
        "TTIN, TTOU, SIGKILL",
        *(events.more_workers, kill, events.fewer_workers, kill),
    ),
    *event(
        "`--timeout`",
        "workers that hang and are killed by the master",
        events.hang,
        options=("--worker-class=sync", "--timeout=2"),
        noise=ABORTED,
    ),
    *event(
        "boot failure",
        "an application that does not boot ends the server; started anew",
        *(kill, events.fail_to_boot),
        named=True,
    ),
    *event(
        "killed master",
        "SIGKILL of the master; a new one on the same directory",
        *(kill, events.kill_master),
        options=("--timeout=2",),
        quick=True,
        named=True,
    ),
    *event("workers of another user", USER_SAYS, kill, options=(f"--user={USER}",)),
    *event(
        "workers of another user, preload",
        USER_SAYS,
        kill,
        options=(f"--user={USER}", "--preload"),
    ),
    gunicorn(
        "dirty workers",
        "newest",
        *("--dirty-app=dirty_app:App", "--dirty-workers=1"),
        does="SIGKILL of workers and dirty workers",
        actions=(kill, events.kill_dirty_worker),
    ),
]


def uwsgi(name: str, *options: str, **variables: str) -> Case:
    """Return a case with uWSGI; gauges with its worker ids do not tell processes apart."""
    words = ("{bin}/uwsgi", "--http-socket=127.0.0.1:{port}", "--master", "--processes=2")
    return Case(
        name,
        (*words, "--die-on-term", "--need-app", "--max-requests=200", *options),
        "pyuwsgi",
        "max-requests, SIGKILL",
        actions=(kill,),
        live="" if variables else "app_worker",
        variables=variables,
    )


ALONE = [
    Case(
        "uvicorn",
        ("{python}", "-m", "uvicorn", "--workers=2", "--port={port}", "asgi_app:app"),
        "uvicorn",
        "SIGKILL",
        actions=(kill,),
        quick=True,
    ),
    Case(
        "uvicorn, limit-max-requests",
        (
            *("{python}", "-m", "uvicorn", "--workers=2", "--port={port}"),
            *("--limit-max-requests=200", "asgi_app:app"),
        ),
        "uvicorn",
        "limit-max-requests, SIGKILL",
        actions=(kill,),
    ),
    *(
        Case(
            f"granian {interface}",
            (
                *("{bin}/granian", f"--interface={interface}", "--workers=2", "--port={port}"),
                *("--respawn-failed-workers", "--respawn-interval=0.1", f"{interface}_app:app"),
            ),
            "granian",
            "SIGKILL",
            actions=(kill,),
            quick=True,
        )
        for interface in ("asgi", "wsgi")
    ),
    Case(
        "hypercorn",
        (
            *("{bin}/hypercorn", "--workers=2", "--bind=127.0.0.1:{port}"),
            *("--max-requests=200", "asgi_app:app"),
        ),
        "hypercorn",
        "max-requests",
        can_kill=False,
    ),
    uwsgi("uWSGI", "--module=wsgi_app:app"),
    uwsgi("uWSGI, lazy-apps", "--module=wsgi_app:app", "--lazy-apps"),
    uwsgi("uWSGI, threads", "--module=wsgi_app:app", "--threads=2"),
    uwsgi("uWSGI, worker ids", "--module=wsgi_app:app", IDENTIFIER="uwsgi"),
    uwsgi(
        "uWSGI, worker ids, lazy-apps", "--module=wsgi_app:app", "--lazy-apps", IDENTIFIER="uwsgi"
    ),
    Case(
        "Celery, prefork",
        (
            *("{bin}/celery", "--app=celery_app", "worker", "--pool=prefork", "--concurrency=2"),
            *("--max-tasks-per-child=50", "--without-gossip", "--without-mingle"),
        ),
        "celery",
        "max-tasks-per-child, SIGKILL",
        actions=(kill,),
        variables={"BROKER": "redis+socket://{redis}", "PORT": "{port}"},
        noise=LOST,
    ),
    *(
        Case(
            f"{kind}, {method}",
            ("{python}", "{root}/e2e/apps/pool_app.py", kind, method, "{port}"),
            "python",
            does,
            # A killed worker of a `Pool` may take along the lock that the others wait for.
            actions=() if kind == "Pool" else (kill,),
            can_kill=kind != "Pool",
            quick=(kind, method) in (("Pool", "fork"), ("ProcessPoolExecutor", "spawn")),
        )
        for kind, method, does in (
            ("Pool", "fork", "maxtasksperchild"),
            ("Pool", "spawn", "maxtasksperchild"),
            ("Pool", "forkserver", "maxtasksperchild"),
            ("ProcessPoolExecutor", "fork", "SIGKILL"),
            ("ProcessPoolExecutor", "spawn", "max_tasks_per_child, SIGKILL"),
            ("ProcessPoolExecutor", "forkserver", "max_tasks_per_child, SIGKILL"),
        )
    ),
]

SERVERS = [*gunicorn_classes(), *EVENTS, *ALONE]
