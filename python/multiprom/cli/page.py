"""What `status` shows, as one HTML page that needs nothing besides: tables and plots."""

from __future__ import annotations

import os
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from multiprom.cli import output, status
from multiprom.cli.failure import Failure, reason
from multiprom.cli.output import Amount, Table, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprom.cli.seen import Seen

_BARS = 15
_WIDTH = 640
_LABEL = 240
_ROW = 22
_STYLE = """
:root { color-scheme: light dark; --bar: #3f7cc4; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
td { overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.plots { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: start; }
figure { margin: 1rem 0; }
figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
svg rect { fill: var(--bar); }
"""


def write(found: Seen, file: str) -> None:
    """Write the page; raises Failure if that is not possible."""
    path = Path(file)
    try:
        # Whoever looks at the page meanwhile sees the one before.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(page(found))
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise Failure(f"cannot write {file!r}: {reason(error)}") from None


def page(found: Seen) -> str:
    """Give the page."""
    summary, *tables = status.tables(found, rows=None)
    title = _text(summary.title)
    plots = "".join(_plot(*plot) for plot in _plots(found))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n{_table(summary)}"
        f'<div class="plots">\n{plots}</div>\n'
        + "".join(f"<h2>{_text(table.title)}</h2>\n{_table(table)}" for table in tables)
        + "</html>\n"
    )


def _plots(found: Seen) -> list[tuple[str, list[tuple[str, float, str]]]]:
    """Give each plot's title and bars: label, length, and what it says."""
    memory: list[tuple[str, float, str]] = [
        (
            f"{process['role'] or 'process'} {process['pid']}",
            process["usage"]["resident_bytes"],
            size(process["usage"]["resident_bytes"]),
        )
        for process in found.processes
        if process["usage"]
    ]
    allocated: dict[str, int] = {}
    for file in found.files:
        allocated[file["state"]] = allocated.get(file["state"], 0) + file["allocated"]
    files = [(state, float(count), str(size(count))) for state, count in allocated.items()]
    series = [
        (family["name"], float(family["series"]), f"{family['series']:,}")
        for family in found.families
    ]
    plots = [
        ("Memory of processes", memory),
        ("Files on the disk, by state", files),
        ("Series of metrics", series),
    ]
    return [(title, bars[:_BARS]) for title, bars in plots if bars]


def _plot(title: str, bars: Sequence[tuple[str, float, str]]) -> str:
    longest = max(length for _, length, _ in bars) or 1
    room = _WIDTH - _LABEL - 110
    lines = []
    for row, (label, length, said) in enumerate(bars):
        top, width = row * _ROW, max(room * length / longest, 1)
        shown = label if len(label) <= 30 else f"{label[:29]}…"  # noqa: PLR2004
        lines.append(
            f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{_text(shown)}</text>'
            f'<rect x="{_LABEL}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{top + 15}">{_text(said)}</text>\n'
        )
    height = len(bars) * _ROW
    return (
        f"<figure><figcaption>{_text(title)}</figcaption>\n"
        f'<svg role="img" aria-label="{_text(title)}" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}">\n{"".join(lines)}</svg></figure>\n'
    )


def _table(table: Table) -> str:
    lines = []
    if any(table.headings):
        first = table.rows[0] if table.rows else table.headings
        cells = zip(table.headings, first, strict=True)
        lines.append(
            "".join(f"<th{_number(value)}>{_text(heading)}</th>" for heading, value in cells)
        )
    lines += [
        "".join(f"<td{_number(value)}>{_text(output.cell(value))}</td>" for value in row)
        for row in table.rows
    ]
    rows = "".join(f"<tr>{line}</tr>\n" for line in lines)
    note = f"<p>{_text(table.note)}</p>\n" if table.note else ""
    return (f"<table>\n{rows}</table>\n" if table.rows else "") + note


def _number(value: object) -> str:
    return ' class="number"' if isinstance(value, (int, Amount)) else ""


def _text(text: str) -> str:
    """Give a text that has no meaning in HTML: names come from anybody."""
    return escape(output.printable(text))
