"""Prints tables and JSON: tables with rich where it is installed and a terminal reads them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multiprom.cli.failure import Failure, reason

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SCHEMA = 1
"""Version of the JSON: fields may be added to it, and are neither removed nor changed."""

_REFERENCE = "https://github.com/multiprom/multiprom/blob/main/docs/command-line.md"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Table:
    """Rows under headings. A number is set to the right, and so are the headings above it."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | int]]
    note: str = ""
    """A sentence below the table, or in its place if it has no rows."""


def add_json_to(parser: argparse.ArgumentParser) -> None:
    """Let a command print JSON."""
    parser.add_argument(
        "--json", action="store_true", help=f"print JSON, with the fields of {_REFERENCE}"
    )


def print_bytes(content: bytes) -> None:
    """Print all of it: an unbuffered stream (`python -u`) may take a part only."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"cannot write the output: {reason(error)}") from None


def print_text(text: str) -> None:
    """Print lines for people."""
    print_bytes(f"{text}\n".encode(sys.stdout.encoding, "backslashreplace"))


def print_json(command: str, content: dict[str, Any], *, on_one_line: bool = False) -> None:
    """Print what a command has found out as one JSON object."""
    document = {"schema": SCHEMA, "command": command, **content}
    indent = None if on_one_line else 2
    print_text(json.dumps(document, indent=indent, allow_nan=False))


def print_styled(label: str, style: str, text: str) -> None:
    """Print a text for people with a label before it, which has a colour in a terminal."""
    if is_rich():
        rich_text = importlib.import_module("rich.text").Text
        console = importlib.import_module("rich.console").Console(highlight=False, soft_wrap=True)
        console.print(rich_text.assemble((label, style), text))
    else:
        print_text(label + text)


def number(value: float) -> float | str:
    """Give a number as JSON can have it: what is not finite as the text `NaN`, `+Inf` or `-Inf`."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def is_rich() -> bool:
    """Say whether tables are printed by rich."""
    is_wanted = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return is_wanted and importlib.util.find_spec("rich") is not None


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables, one below the other."""
    if is_rich():
        console = importlib.import_module("rich.console").Console(highlight=False)
        for table in tables:
            console.print(rich_table(table))
        return
    print_text("\n".join(map(plain, tables)).removesuffix("\n"))


def plain(table: Table) -> str:
    """Give a table as lines of text."""
    lines = [printable(table.title)]
    if table.rows:
        rows = [[cell(value) for value in row] for row in table.rows]
        if any(table.headings):
            rows.insert(0, list(map(printable, table.headings)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        numeric = _numeric(table)
        for row in rows:
            columns = zip(row, widths, numeric, strict=True)
            cells = (
                text.rjust(width) if right else text.ljust(width) for text, width, right in columns
            )
            lines.append(("  " + "  ".join(cells)).rstrip())
    if table.note:
        lines.append(f"  {printable(table.note)}")
    return "\n".join(lines) + "\n"


def rich_table(table: Table) -> Any:
    """Give a table as rich prints it."""
    # Never as markup: names of directories, files, metrics and labels come from anybody.
    text = importlib.import_module("rich.text").Text
    title, note = printable(table.title), printable(table.note)
    if not table.rows:
        return text.assemble((title, "bold"), f"\n  {note}\n")
    made = importlib.import_module("rich.table").Table(
        title=text(title, style="bold"),
        caption=text(note) if note else None,
        title_justify="left",
        caption_justify="left",
        show_header=any(table.headings),
        box=importlib.import_module("rich.box").SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading, is_numeric in zip(table.headings, _numeric(table), strict=True):
        justify = "right" if is_numeric else "left"
        made.add_column(text(printable(heading)), justify=justify, overflow="fold")
    for row in table.rows:
        made.add_row(*(text(cell(value)) for value in row))
    return made


def _numeric(table: Table) -> list[bool]:
    columns = zip(*table.rows, strict=True)
    return [all(isinstance(value, (int, Amount)) for value in column) for column in columns]


class Amount(str):
    """A number with its unit, already as text."""

    __slots__ = ()


def size(count: float) -> Amount:
    """Give so many bytes in the unit that fits."""
    unit = 0
    while abs(count) >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004
        count /= 1024
        unit += 1
    digits = 0 if unit == 0 else 1
    return Amount(f"{count:.{digits}f} {_UNITS[unit]}")


def or_dash(value: str | int | None) -> Amount:
    """Give a number or name as text, and a dash where there is none."""
    return Amount("-" if value is None else value)


def cell(value: str | int) -> str:
    """Give a cell as text that cannot steer a terminal."""
    if isinstance(value, int):
        return f"{value:,}"
    return printable(value)


def printable(text: str) -> str:
    """Give a text with escapes for all that is not to be printed: names come from anybody."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def count_of(count: int, what: str, plural: str = "") -> str:
    """Give a number with its noun: `1 file`, `2 files`."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"
