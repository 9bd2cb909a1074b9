"""Programs that are started, watched through their log, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self


class Program:
    """A program in a folder; a context manager that leaves no process behind."""

    def __init__(
        self, folder: Path, log: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes]
        self.within: Sequence[str] = ()
        """A command that starts the program, such as `unshare`."""
        self._log = folder / log
        self._command = command
        self._environment = environment
        self._groups: list[int] = []

    def __enter__(self) -> Self:
        """Start the program and wait until it is ready."""
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def wait_until_ready(self) -> None:
        """Wait until the program can be used."""
        raise NotImplementedError

    def launch(self) -> None:
        """Start the process, with an empty log, without waiting for anything."""
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, *self._command],
                cwd=self.folder,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._groups.append(self.process.pid)

    @property
    def log(self) -> str:
        """Everything that the program has printed so far."""
        return self._log.read_text()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 30) -> None:
        """Wait until the condition holds, and fail with the log if it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"the server did not {what} in {seconds} s:\n{self.log}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End every process of the program at once."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait(timeout=20)
