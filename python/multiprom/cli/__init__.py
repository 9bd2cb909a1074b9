"""The `multiprom` command: what an operator sees of a directory, and does with it.

`command` has the parser and the exit codes; each subcommand is a module of its own name;
`directory` says which directory is meant, and `output` prints tables and JSON.
docs/command-line.md is the reference. `inspection` is `multiprom.inspect()`, and `port` serves
the metrics beside a gunicorn server; both import nothing of the command.
"""
