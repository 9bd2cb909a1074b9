"""Files with bytes that nobody meant to write: no scrape fails, and what can be read is kept."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import multiprom
from hypothesis import given, settings
from hypothesis import strategies as st
from multiprom.exposition import openmetrics_latest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from support import files, stock
from support.equality import plain
from support.strategies import EXACT, FILE_PREFIXES, entries

if TYPE_CHECKING:
    from collections.abc import Iterable


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw what may become of a file."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "overwrite", "length", "used", "cut", "extend"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "overwrite":
                data[at : at + 8] = draw(st.binary(max_size=16))
            case "length":
                found = files.extents(bytes(data))
                if found:
                    start, _ = draw(st.sampled_from(found))
                    data[start : start + 4] = draw(_LENGTHS)
            case "used":
                data[:4] = draw(_LENGTHS)
            case "cut":
                del data[at:]
            case "extend":
                data += draw(st.binary(max_size=40))
    return bytes(data)


_LENGTHS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-8, 200),
    # Text where a length should be.
    st.sampled_from([1919251561, 0x7FFFFFFF, -1, 0]),
).map(files.LENGTH.pack)


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Draw a file name, its content, and the same content after some damage."""
    prefix = draw(st.sampled_from(FILE_PREFIXES))
    found = draw(st.lists(entries(prefix), max_size=5))
    sound = files.file_bytes(
        [files.entry_bytes(entry.key(), entry.value, entry.timestamp) for entry in found],
        size=draw(st.sampled_from([0, 0, 512])),
    )
    return f"{prefix}_7.db", sound, draw(damaged(sound))


def understood(name: str, found: Iterable[files.Entry]) -> dict[str, Any]:
    """Return what prometheus_client would have made of the entries."""
    kind, *_ = name.split("_")
    metrics: dict[str, Any] = {}
    for entry in found:
        labels: Any = tuple(sorted(entry.labels.items()))
        if kind == "histogram" and not _is_number(entry.labels.get("le", "0")):
            continue
        if entry.family not in metrics:
            # Before 0.22 not every name is one, and one that is none would fail the scrape.
            metrics[entry.family] = Metric("anything", entry.help, kind)
            metrics[entry.family].name = entry.family
        metric = metrics[entry.family]
        if kind == "gauge":
            metric._multiprocess_mode = name.split("_")[1]
            labels += (("pid", "7"),)
            metric.add_sample(entry.sample, labels, entry.value, entry.timestamp)
        else:
            metric.add_sample(entry.sample, labels, entry.value)
    return metrics


def _is_number(bound: str) -> bool:
    try:
        return not math.isnan(float(bound))
    except ValueError:
        return False


@settings(max_examples=settings().max_examples * 4)
@given(history=histories())
def test_what_can_be_read_is_kept(history: tuple[str, bytes, bytes]) -> None:
    name, _, content = history
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, name)
        path.write_bytes(content)
        # Unaccumulated, so that no sum of the random values depends on its order.
        expected = stock.MultiProcessCollector._accumulate_metrics(
            understood(name, files.read(content)), accumulate=False
        )
        merged = multiprom.MultiProcessCollector.merge([str(path)], accumulate=False)
        assert plain(merged, shows_times=False) == plain(expected, shows_times=False)


@given(history=histories())
def test_what_lies_before_the_damage_is_kept(history: tuple[str, bytes, bytes]) -> None:
    """The same without any opinion on what is readable."""
    name, sound, content = history
    same = [before == after for before, after in zip(sound, content, strict=False)]
    intact = same.index(False) if False in same else len(same)
    whole = [end for _, end in files.extents(sound) if end <= intact]
    kept = len(whole)
    (used,) = files.USED.unpack(content[:4].ljust(4, b"\0"))
    # Where the length itself lies, nobody can know better.
    if intact < files.HEADER or used < max(whole, default=0):
        kept = 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, name)
        path.write_bytes(content)
        read = multiprom.MultiProcessCollector._read_metrics([str(path)])
        expected = understood(name, list(files.read(sound))[:kept])
        for family, metric in expected.items():
            count = len(metric.samples)
            assert [repr(sample) for sample in read[family].samples[:count]] == [
                repr(sample) for sample in metric.samples
            ]


@given(found=st.lists(histories(), min_size=1, max_size=4))
def test_no_scrape_fails(found: list[tuple[str, bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for pid, (name, _, content) in enumerate(found):
            Path(directory, name.replace("_7.db", f"_{pid}.db")).write_bytes(content)
        sound = Path(directory, "counter_sound.db")
        files.write(sound, [files.counter(3, "kept_by_all")])
        registry = CollectorRegistry()
        multiprom.MultiProcessCollector(registry, directory)
        for text in (
            *stock.texts(registry, multiprom.generate_latest, openmetrics_latest).values(),
            *stock.texts(registry).values(),
        ):
            # However the name is escaped.
            assert b"all_total 3.0\n" in text or b"all__total 3.0\n" in text


@given(content=st.binary(max_size=300), prefix=st.sampled_from(FILE_PREFIXES))
def test_any_bytes(content: bytes, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f"{prefix}_7.db")
        path.write_bytes(content)
        expected = understood(path.name, files.read(content))
        assert list(multiprom.MultiProcessCollector._read_metrics([str(path)])) == list(expected)


@given(
    value=EXACT,
    key=st.one_of(
        # One without length ends the file: see test_faults_content.
        st.binary(min_size=1, max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ).map(lambda parts: json.dumps(parts).encode()),
    ),
)
def test_any_key(key: bytes, value: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "counter_7.db")
        around = [files.counter(1, "first"), files.counter(2, "last")]
        first, last = [files.entry_bytes(entry.key(), entry.value) for entry in around]
        path.write_bytes(files.file_bytes([first, files.entry_bytes(key, value), last]))
        expected = understood(path.name, files.read(path.read_bytes()))
        read = multiprom.MultiProcessCollector._read_metrics([str(path)])
        assert list(read) == list(expected)
        assert {"first", "last"} <= set(read)
