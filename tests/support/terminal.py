"""The `multiprom` command in a terminal: what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

from support.command_line import COMMAND
from support.interpreters import environment

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60


def _take_terminal() -> None:
    # As its controlling terminal, so that keys such as Ctrl-C send signals. A program that was
    # started in the background, such as these tests, may have been told to ignore SIGINT.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command with a terminal of 120 columns; `text` is all that it has written so far."""

    def __init__(self, *arguments: str | Path, **variables: str) -> None:
        self.end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment(TERM="xterm-256color", COLUMNS="120", LINES="40", **variables),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no other thread runs
        )
        self.inner = inner
        self.before = termios.tcgetattr(inner)
        self.text = ""

    def read(self, until: str) -> str:
        """Read until a text has come, or the command has ended."""
        deadline = time.monotonic() + SECONDS
        while until not in self.text and time.monotonic() < deadline:
            if select.select([self.end], [], [], 0.1)[0]:
                self.text += os.read(self.end, 1 << 16).decode(errors="replace")
            elif self.process.poll() is not None:
                break
        assert until in self.text, self.text
        return self.text

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self.end, keys.encode())

    def finish(self) -> int:
        """Wait for the end, hold the terminal to what it was before, and return the exit code."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            if select.select([self.end], [], [], 0.05)[0]:
                self.text += os.read(self.end, 1 << 16).decode(errors="replace")
        assert termios.tcgetattr(self.inner) == self.before
        while select.select([self.end], [], [], 0)[0]:
            self.text += os.read(self.end, 1 << 16).decode(errors="replace")
        assert "Traceback" not in self.text, self.text
        self.close()
        return self.process.returncode

    def close(self) -> None:
        """End the command, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self.end, self.inner):
            os.close(descriptor)
        self.end = self.inner = -1
