"""What all commands have in common: help, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import multiprom
import pytest
from support.command_line import COMMAND, run
from support.files import counter, write
from support.interpreters import environment
from support.interpreters import run as run_script
from support.terminal import Terminal

COMMANDS = ("status", "top", "export", "compact", "doctor", "serve")
# The doctor says what is wrong with a directory that cannot be read.
READING = ("status", "top", "export", "compact", "serve")


def test_help_names_every_command_and_exit_code() -> None:
    text = run("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in text
    for code in ("  0 ", "  1 ", "  2 ", "  3 ", "  130 ", "  141 "):
        assert code in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    text = run(command, "--help").stdout
    assert f"examples:\n  multiprom {command}" in text
    assert "PROMETHEUS_MULTIPROC_DIR" in text


def test_version() -> None:
    assert run("--version").stdout == f"multiprom {multiprom.__version__}\n"


def test_the_script_is_the_command() -> None:
    script = Path(sys.executable).with_name("multiprom")
    printed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert printed.stdout == run("--version").stdout


@pytest.mark.parametrize("arguments", [(), ("unheard-of",), ("serve", "--port", "65536"), ("-x",)])
def test_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    assert "usage: multiprom" in run(*arguments, code=2).stderr


def test_a_wrong_port() -> None:
    said = run("serve", "--port", "65536", code=2).stderr
    assert "argument --port: a port is 0 to 65,535, not '65536'\n" in said


@pytest.mark.parametrize("command", ["status", "export", "compact", "doctor"])
def test_output_that_cannot_be_written(command: str, directory: Path) -> None:
    write(directory / "counter_1.db", [counter(3)])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, command, str(directory)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    said = "multiprom: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (3, said)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_directory_is_named(command: str) -> None:
    said = run(command, code=2, PROMETHEUS_MULTIPROC_DIR="").stderr
    assert said == "multiprom: which directory? Name it, or set PROMETHEUS_MULTIPROC_DIR\n"


@pytest.mark.parametrize("command", READING)
def test_a_directory_that_is_none(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, reason in (("missing", "No such file or directory"), ("file", "Not a directory")):
        said = run(command, tmp_path / name, code=3).stderr
        path = str(tmp_path / name)
        assert said == f"multiprom: cannot read the directory {path!r}: {reason}\n"


@pytest.mark.parametrize("command", READING)
def test_a_directory_that_may_not_be_read(command: str, directory: Path) -> None:
    directory.chmod(0o000)
    try:
        said = run(command, directory, code=3, privileges=False).stderr
    finally:
        directory.chmod(0o755)
    assert said.endswith("Permission denied\n")


def test_the_variable_names_the_directory(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(3)])
    for done in (
        run("export", PROMETHEUS_MULTIPROC_DIR=directory),
        run("export", prometheus_multiproc_dir=directory),
    ):
        assert "requests_total 3.0" in done.stdout


def test_a_closed_pipe(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(n, f"n{n}") for n in range(5000)])
    with subprocess.Popen(
        [*COMMAND, "export", str(directory)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 141


def test_control_characters_reach_no_terminal(directory: Path) -> None:
    (directory / "counter_\x1b[2J.db").write_bytes(b"\xff" * 100)
    said = run("compact", directory, code=1).stdout
    assert "\x1b" not in said
    assert r"counter_\x1b[2J.db" in said


@pytest.mark.parametrize("command", ["status", "top"])
def test_names_steer_no_terminal(command: str, tmp_path: Path) -> None:
    directory = tmp_path / "\x1b[2J[red]"
    directory.mkdir()
    write(directory / "counter_1.db", [counter(3, "\x1b[2J[/bold]")])
    options = ("--count", "1", "--interval", "0.1") if command == "top" else ()
    said = run(command, directory, *options).stdout
    assert "\x1b" not in said
    assert r"\x1b[2J[/bold]" in said
    terminal = Terminal(command, directory, *options)
    terminal.read(until=r"\x1b[2J[/bold]")
    assert terminal.finish() == 0
    assert "\x1b[2J" not in terminal.text


@pytest.mark.parametrize("command", ["status", "top", "export", "compact", "doctor"])
def test_closed_streams(command: str, directory: Path) -> None:
    options = ("--count", "1", "--interval", "0.1") if command == "top" else ()
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>"$0"', directory / "errors")
    for path, code in ((directory, 0), (directory / "missing", 1 if command == "doctor" else 3)):
        arguments = [*closed, *COMMAND, command, path, *options]
        done = subprocess.run(arguments, env=environment(), check=False, timeout=60)
        said = (directory / "errors").read_text()
        assert done.returncode == code, said
        assert "Traceback" not in said


def test_services_do_not_import_the_command() -> None:
    printed = run_script("""
        import sys
        import multiprom, multiprom.gunicorn, multiprom.exposition
        print([name for name in sys.modules if name.startswith(("multiprom.cli", "argparse"))])
    """)
    assert printed == "[]\n"


def test_the_help_imports_no_prometheus_client() -> None:
    printed = run_script("""
        import sys
        from multiprom.cli.command import main
        try:
            main(["--help"])
        except SystemExit:
            print("prometheus_client" in sys.modules, "rich" in sys.modules)
    """)
    assert printed.endswith("False False\n")
