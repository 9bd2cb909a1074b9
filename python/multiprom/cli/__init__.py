"""The `multiprom` command: what an operator sees of a directory, and does with it.

`command` has the parser and the exit codes; each subcommand is a module of its own name;
`directory` says which directory is meant, and `output` prints tables and JSON.
docs/command-line.md is the reference. A service does not pay for the command: gunicorn's hooks
import only `port` of it, which starts a process that serves the metrics.
"""
