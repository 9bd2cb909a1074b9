"""The command line: its parser, and what every command has in common."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
from multiprom.cli import compact, doctor, export, serve, status, top
from multiprom.cli.failure import INTERRUPTED, NOBODY_READS, UNUSABLE, Failure, reason
from multiprom.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "status": status,
    "top": top,
    "doctor": doctor,
    "export": export,
    "compact": compact,
    "serve": serve,
}

_CODES = """\
exit codes:
  0    done
  1    done, and something needs attention
  2    the command line is wrong
  3    the directory, a file, an address or a port cannot be used
  130  interrupted with Ctrl-C; serve ends with 0 then
  141  whoever read the output has closed it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Those behind the name of the program; by default those of this process.

    Returns:
        The exit code.

    Raises:
        SystemExit: The command line is wrong, or asked for help or for the version.

    """
    _open_closed_streams()
    logging.basicConfig(format="multiprom: %(message)s")
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer is written at the end of the process: not into the pipe.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except Failure as failure:
        sys.stderr.write(f"multiprom: {printable(str(failure))}\n")
        return failure.code
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"multiprom: {printable(what + reason(error))}\n")
        return UNUSABLE
    return code


def _open_closed_streams() -> None:
    """Print into nothing what goes to a stream that was closed before: Python has None for it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
            setattr(sys, name, null)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multiprom",
        description="Looks into a directory of metrics files, and does what has to be done there.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"multiprom {multiprom.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_to(command)
        command.set_defaults(run=module.run)
    return parser
