from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ossmount.daemon.dump import answering_signals
from ossmount.daemon.watchdog import MARGIN, OTHER, READ, Watchdog
from ossmount.exit_codes import CommandError

LIMIT = 60.0  # seconds, against hanging only
ROOT = Path(__file__).parents[3]
DEADLINE = 10.0


class Hand:
    """What a channel has in hand (ossmount.channel.interface.Owed)."""

    def __init__(self) -> None:
        self.read = self.other = 0
        self.given_up: list[int] = []

    def oldest(self) -> tuple[int, int]:
        return self.read, self.other

    def give_up(self, number: int) -> None:
        self.given_up.append(number)

    def lines(self) -> Iterator[str]:
        yield f"in hand: {self.read} {self.other}"


@pytest.fixture
def hand() -> Hand:
    return Hand()


async def seconds_until_it_fails(watchdog: Watchdog) -> float:
    with pytest.raises(CommandError, match="far beyond its deadline"):
        await watchdog.run(lambda: None)
    return trio.current_time()


@pytest.mark.parametrize(("kind", "deadlines"), [("read", READ), ("other", OTHER)])
def test_a_request_that_was_lost_ends_the_daemon_that_another_one_follows(
    hand: Hand, kind: str, deadlines: int, capfd: pytest.CaptureFixture[str]
) -> None:
    setattr(hand, kind, 7)
    watchdog = Watchdog(hand, DEADLINE, kept=True)
    with answering_signals({"in hand": watchdog.lines}):
        ended = trio.run(seconds_until_it_fails, watchdog, clock=MockClock(autojump_threshold=0))
    assert deadlines * DEADLINE < ended <= deadlines * DEADLINE + MARGIN + 2
    said = capfd.readouterr().err
    assert "Current thread" in said and "test_watchdog.py" in said
    assert f": 7, for at least {ended:.0f} s" in said and "watchdog.py" in said.partition("tasks:")[2]


def test_without_a_keeper_it_is_answered(hand: Hand, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: watchdog.run(task_status.started))
            await trio.sleep(READ * DEADLINE + MARGIN + 2)
            assert hand.given_up[:1] == [7]
            nursery.cancel_scope.cancel()

    hand.read = 7
    watchdog = Watchdog(hand, DEADLINE, kept=False)
    with answering_signals({}):
        trio.run(main, clock=MockClock(autojump_threshold=0))


def test_requests_that_end_are_not_stuck_however_slow_the_store_is(hand: Hand) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: watchdog.run(task_status.started))
            for hand.read in range(1, 50):
                hand.other = hand.read * 1000
                await trio.sleep(2 * DEADLINE)
            nursery.cancel_scope.cancel()

    watchdog = Watchdog(hand, DEADLINE, kept=True)
    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert not hand.given_up


#: argv: what becomes of the loop
ALONE = """
import sys, time
import trio
from ossmount.daemon.dump import answering_signals
from ossmount.daemon.watchdog import Watchdog
silent = 20 if sys.argv[1] == "stuck" else 10**6
watchdog = Watchdog(None, 10.0, kept=False, silent=silent, stopping=20, beat=0.05)
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run, lambda: None)
        await trio.sleep(0.5)
        if sys.argv[1] == "stuck":
            time.sleep(600)
        elif sys.argv[1] == "does not stop":
            watchdog.stop()
            await trio.sleep(600)
        nursery.cancel_scope.cancel()
with answering_signals({}), watchdog.alone():
    trio.run(main)
print("ended in order")
"""


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("stuck", -signal.SIGKILL, ["the event loop stands still for 1 s", "in main", "tasks:", "watchdog.py"]),
        ("does not stop", -signal.SIGKILL, ["it did not end within 1 s", "tasks:", "trio/_timeouts.py"]),
        ("ends", 0, []),
    ],
)
def test_a_daemon_without_a_keeper_is_watched_by_a_thread(what: str, code: int, said: list[str]) -> None:
    words = [sys.executable, "-c", ALONE, what]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=ROOT)
    assert done.returncode == code
    assert all(each in done.stderr for each in said), done.stderr
    assert (done.stdout == "ended in order\n") == (code == 0)


def test_a_state_that_cannot_be_told_does_not_hide_the_rest(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise ValueError("two")

    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    with answering_signals({"broken": broken, "whole": lambda: ["three"]}):
        os.kill(os.getpid(), signal.SIGUSR2)
    said = capfd.readouterr().err
    assert "no event loop runs" in said
    assert all(line in said for line in ("  one\n", "  cannot be told: ValueError('two')\n", "  three\n"))
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)] == before


def test_the_log_level_goes_up_and_back(capfd: pytest.CaptureFixture[str]) -> None:
    ours = logging.getLogger("ossmount")
    before = ours.level
    ours.setLevel(logging.WARNING)
    try:
        with answering_signals({}):
            levels = []
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
                levels.append(ours.level)
        assert levels == [logging.DEBUG, logging.WARNING, logging.DEBUG]
        assert "the log level is warning now" in capfd.readouterr().err
    finally:
        ours.setLevel(before)
