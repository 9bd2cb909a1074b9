"""Shows again and again what each process uses and counts; q or Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from multiprom.cli import directory, output, ranges
from multiprom.cli.failure import ATTENTION, DONE, Failure
from multiprom.cli.moments import Moment, Rates
from multiprom.cli.output import Amount, Table, count_of, or_dash, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

HELP = "show processor time, memory and rates, live"
EXAMPLES = """\
examples:
  multiprom top /run/metrics
  multiprom top --counter http_requests --interval 5
  multiprom top --count 1 --json
"""
_ROWS = 10
_PROCESSES = 40
_KEYS = 1024
_TERMINATED = 128 + signal.SIGTERM


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    directory.add_to(parser)
    parser.add_argument(
        "--interval",
        type=ranges.number(float, "a time in seconds", 0.1, 86_400),
        default=2.0,
        metavar="SECONDS",
        help="(default: 2)",
    )
    parser.add_argument(
        "--count",
        type=ranges.number(int, "a count", 1),
        metavar="N",
        help="end after showing it so many times",
    )
    parser.add_argument(
        "--counter",
        metavar="NAME",
        help="the metric of which each process's rate is shown (default: the fastest): a counter, "
        "or the observations of a histogram or summary",
    )
    output.add_json_to(parser)


def run(options: argparse.Namespace) -> int:
    """Show it until a key, a signal or the count ends it."""
    path = directory.readable(options)
    # Ends the context managers below, which give the terminal back as it was.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    before = Moment.of(path)
    if options.counter is not None and not before.has(options.counter):
        raise Failure(f"no metric that counts is named {options.counter}", ATTENTION)
    with _keys() as pause, _screen(is_live=not options.json) as show:
        shown = 0
        while (options.count is None or shown < options.count) and pause(options.interval):
            now = Moment.of(path)
            rates = Rates(before, now)
            if options.json:
                output.print_json("top", rates.to_json(), on_one_line=True)
            else:
                show(tables(rates, options.counter))
            before = now
            shown += 1
    return DONE


def tables(rates: Rates, counter: str | None) -> list[Table]:
    """Give what there is to show; `counter` names the metric that is shown by process."""
    totals = rates.totals()
    fastest = sorted(totals, key=lambda name: (-totals[name], name))
    chosen = counter if counter is not None else next(iter(fastest), None)
    processes = rates.processes(chosen)
    rows = [
        (
            or_dash(process["slot"]),
            Amount(process["pid"] or process["identifier"]),
            process["role"] or "-",
            _percent(process["cpu"]),
            Amount("-") if process["resident_bytes"] is None else size(process["resident_bytes"]),
            or_dash(process["threads"]),
            _rate(process["rate"]),
        )
        for process in processes[:_PROCESSES]
    ]
    more = len(processes) - len(rows)
    headings = ("slot", "pid", "role", "CPU", "memory", "threads", f"{chosen or 'counts'}/s")
    alive = count_of(len(processes), "process", "processes")
    title = f"{time.strftime('%H:%M:%S')}  {alive}  scrape {rates.scrape_milliseconds:.1f} ms"
    note = f"and {more:,} more" if more > 0 else "" if rows else "no living process"
    counted = [
        (name, _rate(totals[name]), Amount(f"{rates.now.total(name):,.0f}"))
        for name in fastest[:_ROWS]
    ]
    return [
        Table(title, headings, rows, note),
        Table(
            "Rates",
            ("metric", "per second", "so far"),
            counted,
            "" if counted else "nothing counts",
        ),
    ]


def _percent(share: float | None) -> Amount:
    return Amount("-" if share is None else f"{share:.0%}")


def _rate(rate: float | None) -> Amount:
    return Amount("-" if rate is None else f"{rate:,.1f}")


@contextlib.contextmanager
def _screen(*, is_live: bool) -> Iterator[Callable[[list[Table]], None]]:
    """Give what shows tables: in the place of those before, if that is possible."""
    if not (is_live and output.is_rich()):

        def print_below(shown: list[Table]) -> None:
            output.print_tables(shown)
            output.print_text("")

        yield print_below
        return
    group = importlib.import_module("rich.console").Group
    live = importlib.import_module("rich.live").Live(screen=True, auto_refresh=False)
    with live:

        def show(shown: list[Table]) -> None:
            live.update(group(*map(output.rich_table, shown)), refresh=True)

        show([Table("multiprom top", (), (), "the first rates are there in a moment")])
        yield show


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Give what waits so many seconds, and returns False as soon as somebody presses q."""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()):

        def sleep(seconds: float) -> bool:
            time.sleep(seconds)
            return True

        yield sleep
        return
    termios: Any = importlib.import_module("termios")
    before = termios.tcgetattr(sys.stdin)
    try:
        # Keys come at once and are not shown; Ctrl-C stays a signal.
        importlib.import_module("tty").setcbreak(sys.stdin)
        yield _wait_for_q
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _wait_for_q(seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            # Not sys.stdin.read(1), which buffers what came with the key: select does not see that.
            keys = os.read(sys.stdin.fileno(), _KEYS).lower()
            if not keys or b"q" in keys:
                return False
    return True
