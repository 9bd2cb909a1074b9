"""Makes the pictures of docs/images from a service that runs: what commands print, and a page.

It starts gunicorn with the demo application, sends it requests while workers are recycled, and runs
`multiprom status`, `top` and `doctor`, each in a terminal of its own. Chromium takes the picture of
the page of `status --html`. `make pictures` runs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import io
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
DIRECTORY = Path("/tmp/metrics")  # noqa: S108 - a short name in the pictures
PORT = 8417
COLUMNS, LINES = 104, 60
CLIENTS = 3
WINDOW = "1000,1010"

# What two frames of `top` have between them.
HOME = "\x1b[H"
# Fonts from the network: a reader's own will do.
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
COMMAND = (sys.executable, "-m", "multiprom")
ENVIRONMENT = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(DIRECTORY)}


def main() -> None:
    """Make all pictures."""
    # Nothing of anybody else is there: that would be an error.
    DIRECTORY.mkdir()
    try:
        with service():
            record("status", str(DIRECTORY))
            record("top", str(DIRECTORY), "--interval", "1", frames=4)
            page = DIRECTORY / "page.html"
            subprocess.run([*COMMAND, "status", str(DIRECTORY), "--html", str(page)], check=True)
            screenshot(page, IMAGES / "status.png")
            (DIRECTORY / "cache.db").write_bytes(b"SQLite format 3\0")
            # Its header says that 10,000 bytes are used.
            (DIRECTORY / "counter_4711.db").write_bytes(struct.pack("ii", 10_000, 0))
            record("doctor")
    finally:
        shutil.rmtree(DIRECTORY)


@contextlib.contextmanager
def service() -> Iterator[None]:
    """Run the demo application with requests, and workers that are recycled."""
    options = [f"--bind=127.0.0.1:{PORT}", "--workers=3", "--max-requests=300"]
    command = [sys.executable, "-m", "gunicorn", "-c", "python:multiprom.gunicorn", *options]
    server = subprocess.Popen(
        [*command, "--max-requests-jitter=300", "--no-control-socket", "app:app"],
        cwd=ROOT / "examples" / "demo",
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    ends = threading.Event()
    clients = [threading.Thread(target=send, args=(ends,)) for _ in range(CLIENTS)]
    try:
        for client in clients:
            client.start()
        while not list(DIRECTORY.glob("*_compacted.db")):
            if server.poll() is not None:
                raise SystemExit("gunicorn has ended")
            time.sleep(0.1)
        # The new worker counts, too.
        time.sleep(1)
        yield
    finally:
        ends.set()
        for client in clients:
            client.join()
        server.terminate()
        server.wait()


def send(ends: threading.Event) -> None:
    """Send requests until told to stop; a worker that is recycled may break one off."""
    number = 0
    while not ends.is_set():
        number += 1
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/product/{number % 10}")
            connection.getresponse().read()
        connection.close()
        time.sleep(0.03)


def record(name: str, *arguments: str, frames: int = 0) -> None:
    """Write a picture of what a command shows in a terminal, and of what was typed there.

    A command that goes on is ended by its key after so many frames; the last of them is shown.
    """
    end, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, name, *arguments],
        env={**ENVIRONMENT, "TERM": "xterm-256color"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    shown = ""
    while True:
        if select.select([end], [], [], 0.1)[0]:
            # Linux says so when the command has closed its end.
            try:
                shown += os.read(end, 1 << 16).decode()
            except OSError:
                break
        if frames and shown.count(HOME) > frames:
            os.write(end, b"q")
    os.close(end)
    process.wait()
    if frames:
        shown = shown.split(HOME)[frames]
    lines = shown.replace("\r\n", "\n").rstrip().split("\n")
    typed = " ".join(("$ multiprom", name, *arguments))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    # rich cuts off the lower part of the last line.
    console.print(Text.from_ansi("\n".join([typed, *map(str.rstrip, lines), ""])), soft_wrap=True)
    svg = FONT_FACE.sub("", console.export_svg(title=f"multiprom {name}"))
    (IMAGES / f"{name}.svg").write_text("\n".join(map(str.rstrip, svg.splitlines())) + "\n")


def screenshot(page: Path, image: Path) -> None:
    """Let Chromium take a picture of a page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WINDOW}"]
    subprocess.run(
        [program, *options, f"--screenshot={image}", page.as_uri()],
        check=True,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
