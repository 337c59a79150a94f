"""Waiting for the next request for a moment, without a turn of the event loop."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable

# A turn of the event loop costs 10 microseconds, an answer from memory 2 to 7: one reader that looks up file after file gets 80
# to 100 % of what a loop without trio gives it, and 55 % without this.
BRIEFLY = 200e-6  # seconds in select(2)
SELECTABLE = 1024  # FD_SETSIZE: the least descriptor that select(2) cannot take

# First the readers that share our core are let run, again and again: they make their next requests, which are then answered in
# one go, and neither has to wake the other. Who sleeps instead is woken after 50 to 100 microseconds on a core that has gone
# idle: one reader's plain open(), an IOCTL each, 8,900/s so and 17,000/s with this; of eight readers 36,500/s both ways.
AWAKE = 100e-6  # seconds
MISSED = 8  # at most so many waits go by without it after ones that were in vain
# Somebody who computes may keep the core for a whole time slice, though, where a sleeper would get it back at once.
GIVEN_BACK = 150e-6  # seconds after which the core is expected back
UNSHARED = 512  # waits for which it is kept when that took longer
# And with more readers than cores a core that we keep awake is one that takes no reader of another core's queue.
ASKERS = 8  # waits; whose request was the last before each of them is remembered


class ShortWait:
    """Calling it receives the next request if it comes within AWAKE and BRIEFLY: its size, or None."""

    def __init__(self, fd: int, receive: Callable[[int], int | None]) -> None:
        self._fd = fd
        self._receive = receive
        self._cores = len(os.sched_getaffinity(0))
        self._askers: deque[int] = deque(maxlen=ASKERS)
        self._asleep = 0  # waits that are slept through from now on
        self._missed = 1  # and after the next one that stays awake in vain

    def __call__(self, asker: int) -> int | None:
        """asker: the thread that made the last request."""
        self._askers.append(asker)
        crowded = len(set(self._askers)) > self._cores
        if self._asleep:
            self._asleep -= 1
        elif not crowded and (size := self._stay_awake()) is not None:
            return size
        if self._fd < SELECTABLE and select.select((self._fd,), (), (), BRIEFLY)[0]:
            return self._receive(self._fd)
        return None

    def _stay_awake(self) -> int | None:
        now = time.monotonic()
        end = now + AWAKE
        while now < end:
            before = now
            os.sched_yield()
            size = self._receive(self._fd)
            now = time.monotonic()
            if now - before > GIVEN_BACK:
                self._asleep = UNSHARED
            if size is not None:
                self._missed = 1
                return size
        self._asleep = max(self._asleep, self._missed)
        self._missed = min(MISSED, 2 * self._missed)
        return None
