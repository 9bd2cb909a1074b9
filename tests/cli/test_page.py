"""`multiprom status --html`: one page with tables and plots that needs nothing besides."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from support.command_line import run
from support.files import counter, write_ours
from support.service import leave_all, living

if TYPE_CHECKING:
    from pathlib import Path

# Elements that need no end.
VOID = ("meta",)


class Page(HTMLParser):
    """Holds a page to elements that are closed in order, and collects what it shows and names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.count: dict[str, int] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def page(directory: Path, file: Path, code: int = 0) -> Page:
    assert run("status", directory, "--html", file, code=code).stdout == ""
    return Page(file.read_text())


def test_tables_and_plots(directory: Path, tmp_path: Path) -> None:
    leave_all(directory)
    with living(directory) as (_, pid):
        found = page(directory, tmp_path / "page.html", code=1)
    for text in (str(directory), f"worker {pid}", "counter_damaged.db", "requests", "Damage"):
        assert text in found.shown
    assert found.count["svg"] == 3
    assert found.count["table"] == 5
    widths = [float(value) for name, value in found.attributes if name == "width" and "." in value]
    assert widths
    assert all(1 <= width <= 640 for width in widths)


def test_nothing_is_fetched(directory: Path, tmp_path: Path) -> None:
    leave_all(directory)
    file = tmp_path / "page.html"
    found = page(directory, file, code=1)
    assert {name for name, _ in found.attributes}.isdisjoint({"src", "href", "style", "onload"})
    assert found.count.keys().isdisjoint({"script", "link", "img", "iframe"})
    assert not re.search(r"https?:|url\(|@import", file.read_text())


def test_names_are_no_html(directory: Path, tmp_path: Path) -> None:
    entry = counter(1, "<script>", **{'"><b>': "x"})
    write_ours(directory / "counter_<i>&.db", entry)
    found = page(directory, tmp_path / "page.html")
    assert found.count.keys().isdisjoint({"script", "b", "i"})
    for text in ("<script>", '"><b> 1', "counter_<i>&.db"):
        assert text in found.shown


def test_an_empty_directory(directory: Path, tmp_path: Path) -> None:
    found = page(directory, tmp_path / "page.html")
    assert "svg" not in found.count
    assert "nothing to fold" in found.shown


def test_a_page_takes_the_place_of_the_one_before(directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.html").write_text("old")
    page(directory, folder / "page.html")
    assert [path.name for path in folder.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written(directory: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "missing" / "page.html", tmp_path):
        said = run("status", directory, "--html", file, code=3).stderr
        assert said.startswith(f"multiprom: cannot write {str(file)!r}: ")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
