"""What `multiprom doctor` looks at outside the directory: installed packages, the environment."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
from multiprom import environment
from multiprom.cli import port
from multiprom.cli.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_SWITCHES = {
    "MULTIPROM_COMPACTION": "on",
    "MULTIPROM_DROP_ALL": "off",
    "MULTIPROM_WORKER_METRICS": "off, but on with multiprom.gunicorn",
}
_LIMIT = "MULTIPROM_SERIES_LIMIT"
_OFF = ("off", "0", "false", "no")
_WORDS = ("on", "1", "true", "yes", *_OFF)


def versions() -> Iterator[Finding]:
    """Look at what is installed."""
    client = importlib.metadata.version("prometheus_client")
    text = (
        f"multiprom {multiprom.__version__}, prometheus_client {client}, "
        f"Python {platform.python_version()}"
    )
    release = tuple(int(part) for part in re.findall(r"\d+", client)[:2])
    if release < (0, 20):
        advice = "Install prometheus_client 0.20 or later."
        yield Finding("versions", "problem", text, advice)
    else:
        yield Finding("versions", "ok", text)
    if importlib.util.find_spec("prometheus_client_python_speedups") is not None:
        yield Finding(
            "versions",
            "warning",
            "prometheus-client-python-speedups is installed, too: both replace the same code",
            "Uninstall it.",
        )


def variables(path: str) -> Iterator[Finding]:
    """Look at the variables."""
    new, old = (os.environ.get(name) for name in (environment.VARIABLE, environment.OLD_VARIABLE))
    if not new and old:
        yield Finding(
            "variable",
            "warning",
            f"only {environment.OLD_VARIABLE} is set, which is deprecated",
            f"Set {environment.VARIABLE} instead.",
        )
    elif not new:
        yield Finding(
            "variable",
            "note",
            f"{environment.VARIABLE} is not set here: nothing tells whether the service has it",
            "Run the doctor with the environment of the service, such as in its container.",
        )
    elif Path(new).absolute() != Path(path).absolute():
        text = f"{environment.VARIABLE} is {new!r}, which is another directory than this one"
        yield Finding("variable", "note", text)
    else:
        yield Finding("variable", "ok", f"{environment.VARIABLE} names the directory")
    if new and not Path(new).is_absolute():
        yield Finding(
            "variable",
            "warning",
            f"{environment.VARIABLE} is {new!r}, which depends on each process's working directory",
            "Name the directory with its whole path.",
        )
    for name, default in _SWITCHES.items():
        value = os.environ.get(name, "").strip().lower()
        if value and value not in _WORDS:
            text = f"{name} is {value!r}, which is not understood, and stays {default}"
            yield Finding("variable", "warning", text, "Set it to on or to off.")
    limit = os.environ.get(_LIMIT, "").strip()
    if limit and not re.fullmatch(r"\+?[0-9]+", limit):
        text = f"{_LIMIT} is {limit!r}, which is not a whole number from 0 up: there is no limit"
        yield Finding("variable", "warning", text, "Set it to a number, or to 0 for no limit.")
    address = os.environ.get(port.VARIABLE, "").strip()
    try:
        port.parse(address or "127.0.0.1:0")
    except ValueError as error:
        yield Finding("variable", "warning", str(error), "Set it to a host and a port.")


def shows_workers() -> bool:
    """Say whether a service with this environment counts its workers."""
    return os.environ.get("MULTIPROM_WORKER_METRICS", "").strip().lower() not in _OFF
