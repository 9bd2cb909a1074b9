"""The `multiprom` command: what an operator sees of a directory, and does with it.

Only the command imports this package, so that a service does not pay for it. `command` has the
parser and the exit codes; each subcommand is a module of its own name; `directory` says which
directory is meant, and `output` prints tables and JSON. docs/command-line.md is the reference.
"""

from multiprom.cli.command import main

__all__ = ["main"]
