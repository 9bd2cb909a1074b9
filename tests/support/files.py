"""The `.db` format in plain Python, written from its description and sharing no code with anybody.

The reader is the tests' own opinion on damaged files: what lies before the damage counts, an entry
whose key cannot be understood is passed over, and nothing is an error.
"""

from __future__ import annotations

import fcntl
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USED = struct.Struct("=i")
LENGTH = struct.Struct("=i")
NUMBERS = struct.Struct("=dd")
HEADER = 8
INITIAL_SIZE = 1 << 16
# In bytes 4 to 8, where prometheus_client has zeros: written by multiprom.
MAGIC = b"MPw1"


@dataclass(frozen=True)
class Entry:
    """One series of one process."""

    family: str
    sample: str
    labels: dict[str, str] = field(default_factory=dict)
    help: str = "Help"
    value: float = 0.0
    timestamp: float = 0.0

    def key(self) -> bytes:
        parts = [self.family, self.sample, self.labels, self.help]
        return json.dumps(parts, sort_keys=True).encode()


def entry_bytes(key: bytes, value: float, timestamp: float = 0.0) -> bytes:
    """Return one entry; the key may be anything."""
    padding = b" " * (8 - (len(key) + 4) % 8)
    return LENGTH.pack(len(key)) + key + padding + NUMBERS.pack(value, timestamp)


def file_bytes(entries: Iterable[bytes], *, used: int | None = None, size: int = 0) -> bytes:
    """Return a whole file; `used` may lie, `size` is the least length of the file."""
    body = b"".join(entries)
    content = USED.pack(HEADER + len(body) if used is None else used) + bytes(4) + body
    return content.ljust(size, b"\0")


def write(path: Path, entries: Iterable[Entry], *, size: int = INITIAL_SIZE) -> Path:
    """Write a sound file."""
    raw = [entry_bytes(entry.key(), entry.value, entry.timestamp) for entry in entries]
    path.write_bytes(file_bytes(raw, size=size))
    return path


def write_ours(path: Path, *entries: Entry) -> Path:
    """Write a file as multiprom's own writer leaves it when its process dies."""
    raw = [entry_bytes(entry.key(), entry.value, entry.timestamp) for entry in entries]
    content = bytearray(file_bytes(raw, size=1 << 16))
    content[4:8] = MAGIC
    path.write_bytes(content)
    return path


def counter(value: float, name: str = "requests", **labels: str) -> Entry:
    """Return what a Counter of that name writes."""
    return Entry(name, f"{name}_total", labels, value=value)


def extents(content: bytes) -> list[tuple[int, int]]:
    """Return where each whole entry starts and ends."""
    found: list[tuple[int, int]] = []
    if len(content) < HEADER:
        return found
    end = min(USED.unpack_from(content)[0], len(content))
    position = HEADER
    while position + LENGTH.size <= end:
        (length,) = LENGTH.unpack_from(content, position)
        if length <= 0:
            break
        after = position + LENGTH.size + length
        after += 8 - (LENGTH.size + length) % 8
        after += NUMBERS.size
        if after > end:
            break
        found.append((position, after))
        position = after
    return found


def _parse(key: bytes) -> tuple[str, str, dict[str, str], str] | None:
    try:
        parts = json.loads(key.decode())
        # A lone surrogate can be escaped in JSON, but no scrape can ever print it.
        json.dumps(parts, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    match parts:
        case [str(family), str(sample), dict(labels), str(help_text)] if family and sample:
            if all(isinstance(value, str) for value in labels.values()):
                return family, sample, labels, help_text
    return None


def read(content: bytes) -> Iterator[Entry]:
    """Yield what can be understood of a file."""
    for start, end in extents(content):
        (length,) = LENGTH.unpack_from(content, start)
        parts = _parse(content[start + LENGTH.size : start + LENGTH.size + length])
        if parts is not None:
            value, timestamp = NUMBERS.unpack_from(content, end - NUMBERS.size)
            yield Entry(*parts, value, timestamp)


def magic(path: Path) -> bytes:
    """Return the bytes that tell who writes the file."""
    with path.open("rb") as file:
        return file.read(HEADER)[USED.size :]


def values_of(path: Path) -> dict[str, float]:
    """Return the values of a file by sample name, with the label values behind it."""
    return {
        " ".join([entry.sample, *entry.labels.values()]): entry.value
        for entry in read(path.read_bytes())
    }


def is_held(file: Path) -> bool:
    """Return whether anybody holds the lock of a file."""
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def of_one_type(order: Iterable[str | Path], directory: Path) -> list[str]:
    """Copy files, each family only from those of the type of the first that names it.

    multiprom leaves the others out: of them prometheus_client makes a text that Prometheus refuses
    or takes wrongly.
    """
    directory.mkdir(exist_ok=True)
    types: dict[str, str] = {}
    copies = []
    for file in map(Path, order):
        own = file.name.split("_")[0].replace("untyped", "unknown")
        found = read(file.read_bytes())
        kept = [entry for entry in found if types.setdefault(entry.family, own) == own]
        copies.append(str(write(directory / file.name, kept, size=0)))
    return copies
