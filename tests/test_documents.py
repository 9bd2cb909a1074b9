"""The code of README.md and docs/ runs, and its commands exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import multiprom
import pytest
from support.commands import environment, eventually, free_port, serving
from support.interpreters import run

ROOT = Path(__file__).resolve().parent.parent
STANDINS = ROOT / "tests" / "support" / "standins"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "examples/README.md",
]


def blocks(*languages: str) -> dict[str, str]:
    """Return the blocks in these languages, by the names of their documents and their numbers."""
    return {
        f"{document.relative_to(ROOT)}-{number}": code
        for document in DOCUMENTS
        for number, (language, code) in enumerate(
            re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)
        )
        if language in languages
    }


PYTHON = blocks("python")
SHELL = blocks("sh", "console")
BLOCKS = {name: block for name, block in PYTHON.items() if "gunicorn.conf.py" not in block}
CONFIGURATIONS = {name: block for name, block in PYTHON.items() if name not in BLOCKS}

# Runs a block, and then what it defines.
RUNNER = """
import os
import sys
from types import SimpleNamespace

sys.path.insert(0, sys.argv[2])
with open(sys.argv[1]) as file:
    code = file.read()
names = {"__name__": "app"}
if "install()" not in code:
    # As gunicorn's configuration does before it imports the application.
    import multiprom

    multiprom.install()
exec(compile(code, sys.argv[1], "exec"), names)

import prometheus_client.multiprocess

registry = prometheus_client.CollectorRegistry()
prometheus_client.Counter("documented", "Counts.", registry=registry).inc(2)
files = os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if "worker_id" in names:
    assert "counter_7.db" in files, files
if "child_exit" in names and "options" not in names:
    names["child_exit"](None, SimpleNamespace(pid=2**22 + 1, cfg=None, age=1))
if "options" in names:
    from gunicorn.config import Config

    configuration = Config()
    for name, value in names["options"].items():
        configuration.set(name, value)
merged = prometheus_client.CollectorRegistry()
prometheus_client.multiprocess.MultiProcessCollector(merged)
assert b"documented_total 2.0" in prometheus_client.generate_latest(merged)
if "serve_metrics" in names:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{sys.argv[3]}/metrics", timeout=10) as page:
        assert b"documented_total 2.0" in page.read()
"""


def test_documents_have_code() -> None:
    """Or the tests below would test nothing."""
    assert {"README.md-1", "docs/guide.md-1"} <= set(PYTHON)
    assert {"README.md-0", "docs/guide.md-0", "CONTRIBUTING.md-0"} <= set(SHELL)


@pytest.mark.parametrize("name", BLOCKS)
def test_code_runs(name: str, directory: Path, tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    port = str(free_port())
    file.write_text(BLOCKS[name].replace("9100", port))
    run(RUNNER, file, STANDINS, port, PROMETHEUS_MULTIPROC_DIR=directory)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gunicorn_takes_the_configuration(name: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATIONS[name])
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...\n")
    checked = subprocess.run(
        ["gunicorn", "--check-config", "app:app"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_first_commands_serve_the_first_application(tmp_path: Path) -> None:
    """What the README opens with, typed in."""
    (tmp_path / "app.py").write_text(PYTHON["README.md-1"])
    port = free_port()
    script = SHELL["README.md-0"].replace("pip install multiprom\n", "")
    with serving(script, tmp_path, GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}"):
        for _ in range(3):
            eventually(port, "/", "hello")
        eventually(port, "/metrics", "requests_total 3.0")


@pytest.mark.parametrize("name", SHELL)
def test_commands_exist(name: str, tmp_path: Path) -> None:
    script = SHELL[name]
    parsed = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert parsed.returncode == 0, parsed.stderr
    path = environment(tmp_path)["PATH"]
    for command in re.split(r"\n|&&", re.sub(r"#.*", "", script)):
        words = [word for word in command.split() if not re.match(r"[A-Z_]+=", word)]
        # Celery is there for the tests of the examples only, which run it.
        if words and words[0] not in ("cd", "export", "celery"):
            assert shutil.which(words[0], path=path), words[0]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for commands in re.findall(
            r"(?:^|`)make ([a-z][\w -]*)", document.read_text(), re.MULTILINE
        )
        for target in re.findall(r"^[\w-]+", commands)
    }
    assert named - targets == set()


def test_reference_has_every_name() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    named = set(re.findall(r"^::: multiprom\.(\w+)$", reference, re.MULTILINE))
    # A constant of prometheus_client's own, and the version.
    assert named - {"gunicorn"} == set(multiprom.__all__) - {"CONTENT_TYPE_LATEST", "__version__"}
