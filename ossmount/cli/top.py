"""`ossmount top`: a mount's numbers on a terminal, as they change."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from ossmount.cli.asking import numbers, record_of
from ossmount.control.registry import Record
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.insight import rules, summary
from ossmount.insight.looks import Looks
from ossmount.insight.summary import Prices
from ossmount.options.units import POSITIVE_SECONDS
from ossmount.printable import printable

DESCRIPTION = """Shows what a mount does: throughput, files and requests a second, latencies (median and
99th percentile), cache hits, prefetching, memory, CPU, errors, and what the requests cost.
The first screen is of the last minute, the following ones of the time since the one before.

Keys: q ends, a shows averages since the mount began (again: back)."""

EPILOG = """The cost is what OSS bills for requests at most (refused ones are free): --price GET,LIST
is the price of 10,000 of each; without it 0.01 of each, the list price in CNY for Standard
storage in mainland China."""

_LEAST = 0.2  # seconds between two looks: each costs the daemon about 2 ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNT", help="the mount to look at")
    parser.add_argument("--interval", metavar="SECONDS", default="2", help="between two screens (default 2)")
    parser.add_argument("--once", action="store_true", help="print one screen and end; for pipes and logs")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each interval, until it is interrupted")
    parser.add_argument("--price", metavar="GET[,LIST]", default="", help="of 10,000 requests, in any currency")


def run(arguments: argparse.Namespace) -> int:
    try:
        interval = max(_LEAST, POSITIVE_SECONDS.parse(arguments.interval))
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, f"--interval: {error}") from None
    prices = _prices(arguments.price)
    record = record_of(arguments.mountpoint)
    watch = Watch(lambda: numbers(record, before=True))
    if arguments.once:
        size = shutil.get_terminal_size((100, 40))
        print("\n".join(screen(watch.looks, prices, size.columns)) if not arguments.json else _line(watch.looks, prices))
        return ExitCode.OK
    if arguments.json:
        return _stream(watch, interval, prices)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(ExitCode.USAGE, "this is no terminal: give --once for one screen or --json for a stream")
    return _live(watch, interval, prices, record)


def _prices(text: str) -> Prices:
    """Raises CommandError."""
    if not text:
        return Prices()
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2 or not all(0 <= value < 1e9 for value in values):
        raise CommandError(ExitCode.USAGE, f"--price {text}: expected one or two numbers, as in 0.01 or 0.01,0.05")
    return Prices(values[0], values[-1])


class Watch:
    """The last two looks at a mount."""

    def __init__(self, look: Callable[[], dict[str, Any]]) -> None:
        self._look = look
        first = look()
        self.looks = Looks(first.get("before"), first)
        self.problem = ""

    def step(self) -> None:
        """Looks again. A daemon that is just being replaced is a problem that passes."""
        try:
            after = self._look()
        except CommandError as error:
            self.problem = error.message
            return
        self.problem = ""
        self.looks = Looks(self.looks.after, after)

    @property
    def since_mount(self) -> Looks:
        return Looks(None, self.looks.after)


def screen(looks: Looks, prices: Prices, width: int, problem: str = "") -> list[str]:
    """The lines of a screen, none longer than the terminal is wide."""
    after = looks.after
    lines = [f"ossmount  {printable(after['source'])} at {printable(after['mountpoint'])}"]
    worst = rules.findings(looks)[0]
    lines.append(f"{looks.window}: {'! ' if worst.weight or problem else ''}{problem or worst.title}")
    for title, content in summary.sections(looks, prices):
        lines += ["", *(f"{title if not index else '':<12} {printable(line)}" for index, line in enumerate(content))]
    return [line[: max(1, width)] for line in lines]


def _line(looks: Looks, prices: Prices) -> str:
    return json.dumps({"time": round(time.time(), 3), **summary.as_numbers(looks, prices)})


def _stream(watch: Watch, interval: float, prices: Prices) -> int:
    while True:
        time.sleep(interval)
        watch.step()
        print(
            json.dumps({"time": round(time.time(), 3), "problem": watch.problem})
            if watch.problem
            else _line(watch.looks, prices)
        )
        sys.stdout.flush()


def _live(watch: Watch, interval: float, prices: Prices, record: Record) -> int:
    """The full screen, until q. curses restores the terminal, also when this fails."""
    import curses

    try:
        curses.setupterm()
    except curses.error:
        raise CommandError(
            ExitCode.USAGE, f"the terminal {os.environ.get('TERM', '(TERM is not set)')} is not known: give --once, or set TERM"
        ) from None
    return curses.wrapper(lambda window: _loop(window, watch, interval, prices))


_GOOD, _WRONG = 1, 2  # pairs of colours, of the verdict


def _colours() -> None:
    """Makes the pairs, where the terminal has colours and NO_COLOR is not set; else they stay as all text is."""
    import curses

    if curses.has_colors() and "NO_COLOR" not in os.environ:
        curses.start_color()
        curses.use_default_colors()
        curses.init_pair(_GOOD, curses.COLOR_GREEN, -1)
        curses.init_pair(_WRONG, curses.COLOR_YELLOW, -1)


def _verdict(line: str) -> int:
    """How the line is shown that says what is wrong."""
    import curses

    if not curses.has_colors() or "NO_COLOR" in os.environ:
        return int(curses.A_BOLD)
    return int(curses.A_BOLD | curses.color_pair(_WRONG if ": ! " in line else _GOOD))


def _loop(window: Any, watch: Watch, interval: float, prices: Prices) -> int:
    import curses

    curses.curs_set(0) if curses.tigetstr("civis") else None
    _colours()
    window.nodelay(True)
    averages = False
    due = time.monotonic() + interval
    while True:
        _draw(window, watch.since_mount if averages else watch.looks, prices, watch.problem)
        while (left := due - time.monotonic()) > 0:
            select.select([sys.stdin], [], [], left)
            key = window.getch()
            if key in (ord("q"), ord("Q"), 27):
                return ExitCode.OK
            if key in (ord("a"), ord("A"), curses.KEY_RESIZE):
                averages ^= key != curses.KEY_RESIZE
                _draw(window, watch.since_mount if averages else watch.looks, prices, watch.problem)
        watch.step()
        due = time.monotonic() + interval


def _draw(window: Any, looks: Looks, prices: Prices, problem: str) -> None:
    import curses

    height, width = window.getmaxyx()
    window.erase()
    for row, line in enumerate(screen(looks, prices, width - 1, problem)[: max(0, height - 1)]):
        if row < 2:
            window.addnstr(row, 0, line, width - 1, _verdict(line) if row else curses.A_BOLD)
            continue
        window.addnstr(row, 0, line[:13], width - 1, curses.A_BOLD)
        window.addnstr(row, min(13, width - 1), line[13:], max(0, width - 14), curses.A_NORMAL)
    window.addnstr(height - 1, 0, "q ends   a averages since the mount", width - 1, curses.A_DIM)
    window.refresh()
