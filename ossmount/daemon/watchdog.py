"""Sees that this daemon is stuck, and ends what is stuck. A store that is slow is not: its requests end by their deadline.

Two things are watched. *A request* that is in hand for several deadlines was lost: with a keeper this daemon ends, and the
next one is sent the request again; without one it is answered ETIMEDOUT. *The event loop*: with a keeper that one sees by the
heartbeat (ossmount.keeper.daemon); without one a thread here counts the beats. All is counted in beats that took place, never
by a clock: a daemon that was suspended, with its machine or by itself, is not stuck.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

import trio

from ossmount.channel.interface import Owed
from ossmount.exit_codes import CommandError, ExitCode

log = logging.getLogger(__name__)

BEAT: Final = 1.0  # seconds
READ: Final = 3  # deadlines that a READ may take, which is one fetch
OTHER: Final = 10  # deadlines that all else may take: a listing makes several requests of OSS, one after the other
MARGIN: Final = 30.0  # seconds beside them: a busy machine, a disk that hangs
SILENT: Final = 60  # beats that the loop of a daemon without a keeper may miss: what follows is a broken mount
STOPPING: Final = 45  # beats from the wish to stop to the end: a busy mount's 15, the cache's 5, and a busy machine
DUMPING: Final = 2.0  # seconds to write the state before the end


class Watchdog:
    """A component of the daemon."""

    def __init__(
        self,
        owed: Owed | None,
        deadline: float,
        *,
        kept: bool,
        silent: int = SILENT,
        stopping: int = STOPPING,
        beat: float = BEAT,
    ) -> None:
        """owed: what the channel has in hand, None where it cannot tell; deadline: seconds, of a request to OSS."""
        self._owed = owed
        self._limits = tuple(round(times * deadline + MARGIN) for times in (READ, OTHER))  # beats
        self._seen = [(0, 0), (0, 0)]  # of READs and of others: the oldest one in hand, and how many beats ago it was first so
        self._kept = kept
        self._silent = silent
        self._stopping = stopping
        self._beat = beat
        self._beats = 0
        self._asked_to_stop = False
        self._over = threading.Event()

    def __repr__(self) -> str:
        return f"<Watchdog: {self._beats} beats, oldest {self._seen}>"

    def lines(self) -> Iterator[str]:
        """For a dump: how long what is oldest was seen in hand, and all that is in hand."""
        for (number, beats), limit, kind in zip(self._seen, self._limits, ("READ", "other request"), strict=True):
            if number:
                yield f"oldest {kind}: {number}, for at least {beats * self._beat:.0f} s; stuck after {limit * self._beat:.0f}"
        if self._owed is not None:
            yield from self._owed.lines()

    async def run(self, started: Callable[[], None]) -> None:
        """Looks at what is in hand, once in a beat, until cancelled. Raises CommandError for a request that is stuck."""
        started()
        while True:
            self._beats += 1
            if self._owed is not None:
                for kind, number in enumerate(self._owed.oldest()):
                    self._look(kind, number, self._owed)
            await trio.sleep(self._beat)

    def _look(self, kind: int, number: int, owed: Owed) -> None:
        before, beats = self._seen[kind]
        self._seen[kind] = (number, beats + 1 if number == before else 0)
        if not number or number != before or beats + 1 < self._limits[kind]:
            return
        why = f"request {number} is in hand for {(beats + 1) * self._beat:.0f} s, far beyond its deadline"
        os.kill(os.getpid(), signal.SIGUSR2)
        if self._kept:
            raise CommandError(ExitCode.UNEXPECTED, f"{why}: another daemon is to take it up")
        log.error("%s: answered ETIMEDOUT", why)
        owed.give_up(number)

    # -- without a keeper

    def stop(self) -> None:
        """The daemon was asked to end, and has `stopping` beats for it."""
        self._asked_to_stop = True

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Until the block ends a thread watches the event loop that runs in it; nothing where a keeper does that."""
        if self._kept:
            yield
            return
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        beats = missed = stopping = 0
        while not self._over.wait(self._beat):
            missed = missed + 1 if self._beats == beats != 0 else 0  # not before it has started
            beats = self._beats
            stopping += self._asked_to_stop
            if missed >= self._silent:
                self._end(f"the event loop stands still for {missed * self._beat:.0f} s")
            elif stopping >= self._stopping:
                self._end(f"it did not end within {stopping * self._beat:.0f} s")

    def _end(self, why: str) -> None:
        os.write(2, f"ERROR ossmount: {why}: this daemon is killed, and nobody serves its mount any more\n".encode())
        os.kill(os.getpid(), signal.SIGUSR2)
        self._over.wait(DUMPING)
        os.kill(os.getpid(), signal.SIGKILL)
