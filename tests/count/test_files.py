"""The files of a writer: held by a lock, with their space allocated, twice as long when full."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import multiprom
import pytest
from support import ours, stock
from support.files import INITIAL_SIZE, MAGIC, is_held, magic, values_of
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
