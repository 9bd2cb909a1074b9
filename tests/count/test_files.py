"""The files of a writer, and what a dead process left under its name.

They are held by a lock, have their space allocated, and are made twice as long when full.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support import ours, stock
from support.equality import samples
from support.files import (
    INITIAL_SIZE,
    MAGIC,
    Entry,
    counter,
    entry_bytes,
    file_bytes,
    is_held,
    magic,
    values_of,
    write,
)
from support.interpreters import command, environment

if TYPE_CHECKING:
    from pathlib import Path


# Some of these to a file of the initial size.
LONG = "x" * 10_000
# How much more room a small file takes than is used: a step, and a block in which ext4 notes where
# the blocks are. A large one takes an eighth more at most.
STEP = 20 << 10


def test_a_file_for_each_type_and_mode(directory: Path) -> None:
    with ours.value_class(lambda: "w") as made:
        for typ in ("counter", "histogram", "summary"):
            ours.value(made, typ=typ).inc(1)
        for mode in (*stock.GAUGE_MODES, stock.EXTRA_MODE):
            ours.value(made, typ="gauge", mode=mode).inc(1)
    names = ["counter", "histogram", "summary"]
    names += [f"gauge_{mode}" for mode in (*stock.GAUGE_MODES, stock.EXTRA_MODE)]
    files = sorted(directory.glob("*.db"))
    assert [file.name for file in files] == sorted(f"{name}_w.db" for name in names)
    for file in files:
        assert magic(file) == MAGIC
        assert values_of(file) == {"requests_total": 1.0}


def test_size_and_space(directory: Path) -> None:
    """What is used has its space, so that a full disk kills nobody; the rest takes no room."""
    sizes = []
    file = directory / "counter_w.db"
    with ours.value_class(lambda: "w") as made:
        held = []
        for number in range(30):
            held.append(ours.value(made, "n", LONG + str(number)))
            held[-1].inc(number)
            status = file.stat()
            used = int.from_bytes(file.read_bytes()[:4], sys.byteorder)
            assert used <= status.st_blocks * 512 <= used + max(STEP, used // 8)
            sizes.append(status.st_size)
        assert [value.get() for value in held] == list(range(30))
    assert sorted(set(sizes)) == [INITIAL_SIZE * times for times in (1, 2, 4, 8)]
    assert sizes == sorted(sizes)
    assert list(values_of(file).values()) == list(range(30))


@pytest.mark.parametrize("length", [INITIAL_SIZE, 3 * INITIAL_SIZE])
def test_a_key_longer_than_the_file(length: int, directory: Path) -> None:
    with ours.value_class(lambda: "w") as made:
        before = ours.value(made)
        ours.value(made, "n", "x" * length).inc(2)
        before.inc(1)
    with stock.process(directory, "stock"):
        from prometheus_client import values

        reference: Any = values.ValueClass
        ours.value(reference).inc(1)
        ours.value(reference, "n", "x" * length).inc(2)
    content = (directory / "counter_w.db").read_bytes()
    expected = (directory / "counter_stock.db").read_bytes()
    assert content[:4] + content[8:] == expected[:4] + expected[8:]


def test_values_made_before_the_file_grew_count_on(directory: Path) -> None:
    with ours.value_class(lambda: "w") as made:
        early = ours.value(made, "early")
        for number in range(100):
            early.inc(1)
            ours.value(made, "n", LONG + str(number)).inc(1)
            assert early.get() == number + 1
            assert values_of(directory / "counter_w.db")["early"] == number + 1


def test_locked_while_its_writer_lives(directory: Path) -> None:
    script = """
    import sys
    import multiprom

    made = multiprom.MultiProcessValue(lambda: "w")
    values = [
        made("counter", "n", "n_total", (), (), "Help"),
        made("gauge", "g", "g", (), (), "Help", "livesum"),
    ]
    print("ready", flush=True)
    sys.stdin.read()
    """
    files = [directory / "counter_w.db", directory / "gauge_livesum_w.db"]
    with subprocess.Popen(
        command(script),
        env=environment(PROMETHEUS_MULTIPROC_DIR=directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert [is_held(file) for file in files] == [True, True]
        # A scrape takes no lock, and is not kept by one.
        assert b"\nn_total 0.0\n" in multiprom.generate_latest(_registry())
        writer.kill()
    assert [is_held(file) for file in files] == [False, False]


def test_locked_until_closed(directory: Path) -> None:
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(1)
        assert is_held(directory / "counter_w.db")
    assert not is_held(directory / "counter_w.db")


def test_a_program_that_is_started_holds_no_lock(directory: Path) -> None:
    """Not even one that inherits every descriptor that it can."""
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(1)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as other:
            made._value_class.end()
            assert other.poll() is None
            assert not is_held(directory / "counter_w.db")


def _registry() -> Any:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    multiprom.MultiProcessCollector(registry)
    return registry


def test_a_relative_name_is_of_the_working_directory_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the time when the first value is made; a later one does not part the files."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", ".")
    monkeypatch.chdir(tmp_path / "first")
    with ours.value_class(lambda: "w") as made:
        value = ours.value(made)
        value.inc(1)
        monkeypatch.chdir(tmp_path / "second")
        # Nothing was removed.
        ours.value(made, "other").inc(2)
        value.inc(4)
    [file] = tmp_path.rglob("*.db")
    assert sorted(values_of(file).values()) == [2.0, 5.0]


# What a dead process left under our name: continued, but for what only the living have.

KINDS = [
    *[(typ, "") for typ in ("counter", "histogram", "summary")],
    *[("gauge", mode) for mode in (*stock.GAUGE_MODES, stock.EXTRA_MODE)],
]
CONTINUED = [kind for kind in KINDS if not kind[1].startswith("live")]
LIVE = [kind for kind in KINDS if kind[1].startswith("live")]

# Counts in every file, and dies without closing any.
PREDECESSOR = """
import os, signal, sys
import multiprom
from prometheus_client import values

make = {"multiprom": multiprom.MultiProcessValue, "stock": values.MultiProcessValue}[sys.argv[1]]
made = make(lambda: "w")
for kind in sys.argv[2:]:
    typ, _, mode = kind.partition("_")
    made(typ, "requests", "requests_total", (), (), "Help", multiprocess_mode=mode).set(5, 7.0)
    made(typ, "requests", "theirs", (), (), "Help", multiprocess_mode=mode).inc(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def file_of(directory: Path, kind: tuple[str, str]) -> Path:
    return directory / f"{'_'.join(filter(None, kind))}_w.db"


@pytest.fixture(params=["multiprom", "stock"])
def _predecessor(request: pytest.FixtureRequest, directory: Path) -> None:
    kinds = ["_".join(filter(None, kind)) for kind in KINDS]
    script = command(PREDECESSOR, request.param, *kinds)
    result = subprocess.run(
        script, env=environment(PROMETHEUS_MULTIPROC_DIR=directory), timeout=60, check=False
    )
    assert result.returncode == -9
    for kind in KINDS:
        assert values_of(file_of(directory, kind)) == {"requests_total": 5.0, "theirs": 3.0}


@pytest.mark.usefixtures("_predecessor")
def test_counts_are_continued(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ours.value_class(lambda: "w") as made:
        for typ, mode in CONTINUED:
            value = ours.value(made, typ=typ, mode=mode)
            assert value.get() == 5.0
            value.inc(1)
            ours.value(made, "ours", typ=typ, mode=mode).inc(2)
            file = file_of(directory, (typ, mode))
            assert values_of(file) == {"requests_total": 6.0, "theirs": 3.0, "ours": 2.0}
            assert magic(file) == MAGIC
    assert caplog.messages == []
    assert len(list(directory.glob("*.db"))) == len(KINDS)


@pytest.mark.usefixtures("_predecessor")
def test_live_gauges_start_anew(directory: Path) -> None:
    """The dead worker's last value would be shown as a ghost's, until this one sets its own."""
    with ours.value_class(lambda: "w") as made:
        for typ, mode in LIVE:
            value = ours.value(made, typ=typ, mode=mode)
            assert value.get() == 0.0
            assert values_of(file_of(directory, (typ, mode))) == {"requests_total": 0.0}
            value.inc(1)
            assert values_of(file_of(directory, (typ, mode))) == {"requests_total": 1.0}
    assert len(list(directory.glob("*.db"))) == len(KINDS)


def test_the_timestamp_is_continued(directory: Path) -> None:
    path = directory / "gauge_mostrecent_w.db"
    write(path, [Entry("n", "n", value=5, timestamp=7)])
    with ours.value_class(lambda: "w") as made:
        assert ours.value(made, "n", typ="gauge", mode="mostrecent", family="n").get() == 5.0
    [entry] = samples(multiprom.MultiProcessCollector(None).collect()).items()
    assert entry == (("n", ()), 5.0)


def test_a_file_that_was_just_created(directory: Path) -> None:
    """Its writer was killed before it had set the length."""
    (directory / "counter_w.db").touch()
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(1)
    assert values_of(directory / "counter_w.db") == {"requests_total": 1.0}
    assert (directory / "counter_w.db").stat().st_size == INITIAL_SIZE


@pytest.mark.parametrize("size", [0, 1000, INITIAL_SIZE, 100_000])
def test_a_file_of_any_size(size: int, directory: Path) -> None:
    """An archiver keeps no more of a file than what is used."""
    write(directory / "counter_w.db", [counter(5)], size=size)
    with ours.value_class(lambda: "w") as made:
        ours.value(made).inc(1)
        for number in range(2000):
            ours.value(made, "n", "x" * 100 + str(number)).inc(1)
    found = values_of(directory / "counter_w.db")
    assert found["requests_total"] == 6.0
    assert len(found) == 2001


DAMAGED = {
    "used beyond the end": file_bytes([entry_bytes(counter(5).key(), 5)], used=INITIAL_SIZE * 2),
    "cut in an entry": file_bytes([entry_bytes(counter(5).key(), 5)])[:-9],
    "a length beyond the end": file_bytes(
        [entry_bytes(counter(5).key(), 5), b"\xff\xff\xff\x7f" + bytes(20)]
    ),
    "a negative length": file_bytes([b"\xff\xff\xff\xff" + bytes(20)], size=INITIAL_SIZE),
    "used is negative": file_bytes([], used=-8, size=INITIAL_SIZE),
    "used is odd": file_bytes([], used=11, size=INITIAL_SIZE),
    "no JSON": file_bytes([entry_bytes(b"\xff\0{", 5)], size=INITIAL_SIZE),
    "shorter than the header": b"\x08\0\0",
    "another format": b"SQLite format 3\0" + b"x" * INITIAL_SIZE,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_no_obstacle(content: bytes, directory: Path) -> None:
    """Wherever the counts go: they are right, they are scraped, and nothing is raised."""
    (directory / "counter_w.db").write_bytes(content)
    before = _scraped(directory)
    with ours.value_class(lambda: "w") as made:
        value = ours.value(made)
        value.inc(1)
        for number in range(1000):
            ours.value(made, "n", "x" * 100 + str(number)).inc(1)
        found = _scraped(directory)
    assert found.pop("requests_total", None) == before.get("requests_total", 0.0) + 1
    assert sum(value for name, value in found.items() if name.startswith("n ")) == 1000


def _scraped(directory: Path) -> dict[str, float]:
    metrics: Any = multiprom.MultiProcessCollector(None, str(directory)).collect()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in metrics
        for sample in metric.samples
    }
