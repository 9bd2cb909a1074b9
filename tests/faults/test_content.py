"""Files that users of prometheus_client found in their directories, each failing every scrape.

A scrape must not fail of them, ever: what can be read of the file counts, all other files count,
and `left_out` tells what could not. The numbers in brackets are prometheus_client's issues.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from support import files
from support.equality import samples
from support.files import Entry, counter, entry_bytes, file_bytes, write

if TYPE_CHECKING:
    from pathlib import Path

FIRST = entry_bytes(counter(1, kept="yes").key(), 1)
SECOND = entry_bytes(counter(1, second="yes").key(), 10)
BEHIND_FIRST = files.HEADER + len(FIRST)
SOUND = file_bytes([FIRST, SECOND])


def scraped(directory: Path) -> dict[str, float]:
    """Return the values by the names of their labels, after a look at every way to scrape."""
    collector = multiprom.MultiProcessCollector(None, directory)
    found = samples(collector.collect())
    names = sorted(str(file) for file in directory.glob("*.db"))
    assert samples(multiprom.MultiProcessCollector.merge(names)) == found
    assert set(multiprom.MultiProcessCollector._read_metrics(names)) == {
        name.removesuffix("_total") for name, _ in found
    }
    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry, directory)
    for text in (multiprom.generate_latest(registry), openmetrics_latest(registry)):
        lines = [line for line in text.splitlines() if not line.startswith(b"#")]
        assert len(lines) == len(found)
    return {",".join(name for name, _ in labels): value for (_, labels), value in found.items()}


def reports(directory: Path) -> list[tuple[str, int | None, int]]:
    return [
        (report.path.removeprefix(f"{directory}/"), report.offset, report.entries)
        for report in multiprom.left_out()
        if report.path.startswith(f"{directory}/")
    ]


@pytest.fixture(autouse=True)
def _another_file(directory: Path) -> None:
    """What happens to one file is no matter to another."""
    write(directory / "counter_sound.db", [counter(5, other="yes")])


class TestEmpty:
    """A writer that was killed between opening and writing (1199): no damage, so no report."""

    @pytest.mark.parametrize(
        "content",
        [b"", bytes(files.INITIAL_SIZE), bytes(100), file_bytes([]), file_bytes([], size=1 << 16)],
        ids=["0 bytes", "truncated only", "short", "header only", "nothing but the header used"],
    )
    @pytest.mark.parametrize("prefix", ["counter", "gauge_all", "gauge_livesum", "histogram"])
    def test_counts_as_empty(self, directory: Path, prefix: str, content: bytes) -> None:
        (directory / f"{prefix}_1.db").write_bytes(content)
        assert scraped(directory) == {"other": 5}
        assert reports(directory) == []


class TestTooShort:
    """A file cut in the middle, or with lengths that lead beyond its end (976, 996)."""

    @pytest.mark.parametrize("used", [len(SOUND) + 1, 1 << 16, 2**31 - 1, 1919251561])
    def test_used_beyond_the_file(self, directory: Path, used: int) -> None:
        (directory / "counter_1.db").write_bytes(file_bytes([FIRST, SECOND], used=used))
        assert scraped(directory) == {"kept": 1, "second": 10, "other": 5}
        assert reports(directory) == [("counter_1.db", len(SOUND), 0)]

    @pytest.mark.parametrize("length", range(BEHIND_FIRST, len(SOUND)))
    def test_cut_anywhere_in_an_entry(self, directory: Path, length: int) -> None:
        (directory / "counter_1.db").write_bytes(SOUND[:length])
        assert scraped(directory) == {"kept": 1, "other": 5}
        assert reports(directory) == [("counter_1.db", BEHIND_FIRST, 0)]

    @pytest.mark.parametrize("used", range(BEHIND_FIRST + 1, len(SOUND)))
    def test_used_within_an_entry(self, directory: Path, used: int) -> None:
        content = file_bytes([FIRST, SECOND], used=used, size=1 << 16)
        (directory / "counter_1.db").write_bytes(content)
        assert scraped(directory) == {"kept": 1, "other": 5}
        assert reports(directory) == [("counter_1.db", BEHIND_FIRST, 0)]

    @pytest.mark.parametrize("length", range(1, 8))
    def test_cut_in_the_header(self, directory: Path, length: int) -> None:
        (directory / "counter_1.db").write_bytes(SOUND[:length])
        assert scraped(directory) == {"other": 5}
        assert len(reports(directory)) == 1

    def test_a_key_beyond_what_is_used(self, directory: Path) -> None:
        entry = files.LENGTH.pack(5000) + SECOND[4:]
        (directory / "counter_1.db").write_bytes(file_bytes([FIRST, entry], size=1 << 16))
        assert scraped(directory) == {"kept": 1, "other": 5}
        assert reports(directory) == [("counter_1.db", BEHIND_FIRST, 0)]


class TestInsaneLengths:
    """Text where a length should be: two writers in one file (347, 127)."""

    @pytest.mark.parametrize(
        "length", [1919251561, 2**31 - 1, 2**31 - 8, 0, -1, -8, -16, -(2**31), 1 << 20]
    )
    def test_of_a_key(self, directory: Path, length: int) -> None:
        entry = files.LENGTH.pack(length) + SECOND[4:]
        (directory / "counter_1.db").write_bytes(file_bytes([FIRST, entry], size=1 << 16))
        assert scraped(directory) == {"kept": 1, "other": 5}
        assert reports(directory) == [("counter_1.db", BEHIND_FIRST, 0)]

    @pytest.mark.parametrize("used", [-1, -8, -(2**31), -1919251561])
    def test_of_the_file(self, directory: Path, used: int) -> None:
        (directory / "counter_1.db").write_bytes(file_bytes([FIRST, SECOND], used=used))
        assert scraped(directory) == {"other": 5}
        assert reports(directory) == [("counter_1.db", 0, 0)]

    def test_an_insane_length_costs_no_memory(self, directory: Path) -> None:
        """The length says two gigabytes; the file has a few bytes, and no more may be asked for."""
        import resource

        content = files.USED.pack(2**31 - 1) + bytes(4) + files.LENGTH.pack(2**31 - 64)
        (directory / "counter_1.db").write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert scraped(directory) == {"other": 5}
        # In KiB on Linux, in bytes on macOS: a bound for both.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000_000


def key(*parts: Any) -> bytes:
    return json.dumps(parts).encode()


class TestKeys:
    """Keys that are none, or that were written over (165, 357, 868, 898)."""

    @pytest.mark.parametrize(
        "bad",
        [
            b" ",
            b"\xff\xfe",
            counter(1).key().replace(b"requests", b"\xe9\xff"),
            counter(1).key()[:-8] + struct.pack("=d", 17.25),
            counter(1).key()[:-1],
            counter(1).key() + b"]",
            bytes(40),
            b"null",
            b"{}",
            b"[]",
            b'"requests"',
            key("requests", "requests_total", {}),
            key("requests", "requests_total", {}, "Help", "more"),
            key("requests", "requests_total", [], "Help"),
            key("requests", "requests_total", None, "Help"),
            key("requests", "requests_total", {"code": 200}, "Help"),
            key("requests", "requests_total", {"code": None}, "Help"),
            key("requests", "requests_total", {"code": ["200"]}, "Help"),
            key("requests", "requests_total", {}, None),
            key("requests", "requests_total", {}, 5),
            key("requests", None, {}, "Help"),
            key(5, "requests_total", {}, "Help"),
            key("", "requests_total", {}, "Help"),
            key("re\ud800quests", "requests_total", {}, "Help"),
            key("requests", "\udfffrequests_total", {}, "Help"),
            key("requests", "requests_total", {"code": "\ud83d"}, "Help"),
            key("requests", "requests_total", {"\ude00": "200"}, "Help"),
            key("requests", "requests_total", {}, "\udc00\ud800"),
            b"[" * 5000,
            b"[" * 200 + b"]" * 200,
            b'["requests", "requests_total", {"a": ' + b"[" * 5000,
        ],
    )
    def test_only_the_entry_is_skipped(self, directory: Path, bad: bytes) -> None:
        content = file_bytes([FIRST, entry_bytes(bad, 100), SECOND, entry_bytes(bad, 100)])
        (directory / "counter_1.db").write_bytes(content)
        assert scraped(directory) == {"kept": 1, "second": 10, "other": 5}
        assert reports(directory) == [("counter_1.db", BEHIND_FIRST, 2)]

    @pytest.mark.parametrize("bound", ["", "one", "0x10", "1,5", "--1", "1e", "\0"])
    def test_a_bound_that_is_no_number(self, directory: Path, bound: str) -> None:
        entries = [
            Entry("took", "took_bucket", {"le": le, "b": le}, value=1) for le in ("1.0", bound)
        ]
        write(directory / "histogram_1.db", entries)
        found = samples(multiprom.MultiProcessCollector(None, directory).collect())
        assert {dict(labels)["b"] for (name, labels) in found if name == "took_bucket"} == {"1.0"}
        assert [(name, count) for name, _, count in reports(directory)] == [("histogram_1.db", 1)]

    def test_a_bound_in_a_file_of_another_type(self, directory: Path) -> None:
        """A label `le` of a counter may be anything, until a histogram takes the counter's name."""
        entry = Entry("took", "took_total", {"le": "no number"}, value=1)
        write(directory / "counter_1.db", [entry])
        assert scraped(directory) == {"le": 1, "other": 5}
        write(directory / "histogram_1.db", [Entry("took", "took_sum", value=2)])
        for files_ in (["histogram_1.db", "counter_1.db"], ["counter_1.db", "histogram_1.db"]):
            paths = [str(directory / name) for name in files_]
            found = samples(multiprom.MultiProcessCollector.merge(paths))
            # The first file says what the type is.
            is_counter = files_[0] == "counter_1.db"
            label = (("le", "no number"),)
            expected = {("took_total", label): 1} if is_counter else {("took_sum", ()): 2}
            assert expected.items() <= found.items()
            assert {name for name, _ in found} & {"took_total", "took_sum"} == {
                name for name, _ in expected
            }

    def test_several_kinds_of_damage(self, directory: Path) -> None:
        bad = entry_bytes(b"\xff", 1)
        broken = files.LENGTH.pack(-1) + bytes(20)
        (directory / "counter_1.db").write_bytes(file_bytes([bad, FIRST, bad, SECOND, broken]))
        assert scraped(directory) == {"kept": 1, "second": 10, "other": 5}
        where = len(file_bytes([bad, FIRST, bad, SECOND]))
        assert sorted(reports(directory), key=str) == sorted(
            [("counter_1.db", files.HEADER, 2), ("counter_1.db", where, 0)], key=str
        )


@pytest.mark.parametrize(
    "prefix", ["counter", "summary", "histogram", "gauge_all", "gauge_livemax"]
)
def test_a_file_of_noise(directory: Path, prefix: str) -> None:
    noise = bytes(n * 167 % 251 for n in range(5000))
    (directory / f"{prefix}_1.db").write_bytes(noise)
    assert scraped(directory) == {"other": 5}
    assert len(reports(directory)) == 1
