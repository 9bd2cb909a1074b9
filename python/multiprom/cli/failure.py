"""What the user can do something about: one line of text and an exit code, never a traceback."""

from __future__ import annotations

DONE = 0
"""All is done, and nothing is wrong."""
ATTENTION = 1
"""The command has done its work, and found something that needs attention."""
USAGE = 2
"""The command line is wrong, or names no directory; argparse exits with it too."""
UNUSABLE = 3
"""The directory, a file, an address or a port cannot be used."""
INTERRUPTED = 130
"""Ctrl-C."""
NOBODY_READS = 141
"""Whoever read the output has closed it, such as `head`."""


class Failure(Exception):  # noqa: N818 - no error of the program's
    """Ends the command."""

    def __init__(self, text: str, code: int = UNUSABLE) -> None:
        super().__init__(text)
        self.code = code


def reason(error: OSError) -> str:
    """Give what the system says, without the number and the path."""
    return error.strerror or str(error)
