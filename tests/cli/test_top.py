"""`multiprom top`: what each process uses and counts, again and again."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from multiprom.cli.moments import Moment, Rates
from support.command_line import COMMAND, run, run_json
from support.files import write
from support.interpreters import environment
from support.service import leave_all, leave_dead, living
from support.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def usage(cpu: float | None, start: float = 1.0) -> dict[str, Any]:
    return {"cpu_seconds": cpu, "resident_bytes": 10, "threads": 1, "start_time": start}


def seen(pid: int, life: str = "alive", **more: Any) -> dict[str, Any]:
    found = {"slot": pid - 100, "pid": pid, "role": "worker", "identifier": str(pid), "life": life}
    return {**found, "usage": usage(1), **more}


def test_rates() -> None:
    refused = seen(104, usage=usage(None))
    before = Moment(10, [seen(101), seen(102), refused], {None: {"n": 5}, "101": {"n": 7}}, 0.001)
    now = Moment(
        12,
        [seen(101, usage=usage(2)), seen(102, "dead"), seen(103, usage=None), refused],
        {None: {"n": 9}, "101": {"n": 10, "m": 4}, "stock": {"n": 2}},
        0.002,
    )
    rates = Rates(before, now)
    assert rates.totals() == {"n": (9 + 10 + 2 - 5 - 7) / 2, "m": 2.0}
    first, unseen, timeless, stock = rates.processes("n")
    assert (first["pid"], first["cpu"], first["rate"]) == (101, 0.5, 1.5)
    assert (unseen["pid"], unseen["cpu"], unseen["rate"]) == (103, None, None)
    assert (timeless["cpu"], timeless["threads"]) == (None, 1)
    assert (stock["identifier"], stock["slot"], stock["rate"]) == ("stock", None, 1.0)
    document = rates.to_json()
    assert document["processes"][0]["rates"] == {"n": 1.5, "m": 2.0}
    assert document["processes"][3]["rates"] == {"n": 1.0}
    assert json.dumps(document, allow_nan=False)


def test_another_process_in_a_slot_has_used_nothing_before() -> None:
    before = Moment(10, [seen(101, usage=usage(50, start=1))], {}, 0)
    now = Moment(11, [seen(101, usage=usage(1, start=5))], {}, 0)
    assert Rates(before, now).processes(None)[0]["cpu"] is None


def test_a_total_that_falls_is_no_rate() -> None:
    rates = Rates(Moment(1, [], {"1": {"n": 9}}, 0), Moment(2, [], {"1": {"n": 1}}, 0))
    assert rates.totals() == {"n": 0.0}


def test_a_process_that_counts(directory: Path) -> None:
    leave_all(directory)
    with living(directory) as (process, pid):
        assert process.stdin is not None
        assert process.stdout is not None
        before = Moment.of(str(directory))
        process.stdin.write("count\n")
        process.stdin.flush()
        assert process.stdout.readline() == "counted\n"
        rates = Rates(before, Moment.of(str(directory)))
    assert rates.totals()["requests"] * rates.seconds == pytest.approx(1000)
    (worker,) = rates.processes("requests")
    assert worker["pid"] == pid
    assert worker["rate"] * rates.seconds == pytest.approx(1000)
    assert worker["resident_bytes"] > 1 << 20


def test_without_a_terminal_it_is_text(directory: Path) -> None:
    with living(directory) as (_, pid):
        text = run("top", directory, "--count", "2", "--interval", "0.1").stdout
        other = run("top", directory, "--count", "1", "--counter", "requests").stdout
    assert text.count("1 process  scrape ") == 2
    assert text.count(f"     0  {pid}  worker") == 2
    assert "requests/s" in text
    assert "  requests         0.0     300\n" in text
    assert "requests/s" in other


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_counter_that_no_metric_is(directory: Path, form: tuple[str, ...]) -> None:
    leave_dead(directory, 1)
    done = run("top", directory, "--count", "1", "--counter", "typo", *form, code=1)
    assert done.stderr == "multiprom: no metric that counts is named typo\n"
    assert done.stdout == ""


@pytest.mark.parametrize("end", ["q", "xq", "\x03", signal.SIGTERM])
def test_it_gives_the_terminal_back(directory: Path, end: str | signal.Signals) -> None:
    with living(directory) as (_, pid):
        terminal = Terminal("top", directory, "--interval", "0.2")
        terminal.read(until="\x1b[?1049h")
        terminal.read(until=str(pid))
        if isinstance(end, str):
            terminal.press(end)
        else:
            terminal.process.send_signal(end)
        code = terminal.finish()
    assert code == {"q": 0, "xq": 0, "\x03": 130, signal.SIGTERM: 143}[end]
    assert terminal.text.rindex("\x1b[?1049l") > terminal.text.rindex("\x1b[?1049h")
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


def test_directories_without_the_living(directory: Path) -> None:
    options = ("--count", "1", "--interval", "0.1")
    assert "no living process" in run("top", directory, *options).stdout
    leave_dead(directory, 1)
    (directory / "counter_2.db").write_bytes(b"\xff" * 30)
    (directory / "cache.db").write_bytes(b"SQLite")
    document = run_json("top", directory, *options)
    assert (document["processes"], document["rates"]) == ([], {"requests": 0.0})


def test_nothing_is_changed(directory: Path) -> None:
    leave_all(directory)
    before = sorted(directory.iterdir())
    run("top", directory, "--count", "1", "--interval", "0.1")
    assert sorted(directory.iterdir()) == before


def test_the_directory_goes_away(directory: Path) -> None:
    write(directory / "counter_1.db", [])
    command = [*COMMAND, "top", str(directory), "--interval", "0.2", "--count", "3", "--json"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout is not None
        top.stdout.readline()
        (directory / "counter_1.db").unlink()
        directory.rmdir()
        assert len(top.stdout.read().splitlines()) == 2
        assert top.wait(30) == 0


def test_wrong_numbers(directory: Path) -> None:
    for option in ("--interval=0", "--interval=nan"):
        said = run("top", directory, option, code=2).stderr
        assert "argument --interval: a time in seconds is 0.1 to 86,400, not " in said
    for option in ("--count=0", "--count=x"):
        said = run("top", directory, option, code=2).stderr
        assert "argument --count: a count is 1 or more, not " in said
