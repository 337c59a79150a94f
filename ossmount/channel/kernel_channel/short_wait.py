"""Waiting for the next request for a moment, without a turn of the event loop."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

# A turn of the event loop costs 10 microseconds, an answer from memory 2 to 7: one reader that looks up file after file gets 80
# to 100 % of what a loop without trio gives it, and 55 % without this.
BRIEFLY = 200e-6  # seconds in select(2)
SELECTABLE = 1024  # FD_SETSIZE: the least descriptor that select(2) cannot take

# First the readers that share our core are let run: they make their next requests, which are then answered in one go, and
# neither has to wake the other (CPU of the daemon for each IOCTL of 8 readers on 2 cores: 8.9 microseconds, 11.3 without, 8.7
# in a loop without trio). Somebody who computes may keep the core for a whole time slice, though, where a sleeper would get it
# back at once: then nothing is given away for a while.
GIVEN_BACK = 150e-6  # seconds after which the core is expected back
UNSHARED = 512  # waits for which it is kept when that took longer


class ShortWait:
    """Calling it receives the next request if it comes within BRIEFLY: its size, or None."""

    def __init__(self, fd: int, receive: Callable[[int], int | None]) -> None:
        self._fd = fd
        self._receive = receive
        self._unshared = 0  # waits for which the core is not given away

    def __call__(self) -> int | None:
        if self._unshared:
            self._unshared -= 1
        else:
            before = time.monotonic()
            os.sched_yield()
            if time.monotonic() - before > GIVEN_BACK:
                self._unshared = UNSHARED
            size = self._receive(self._fd)
            if size is not None:
                return size
        if self._fd < SELECTABLE and select.select((self._fd,), (), (), BRIEFLY)[0]:
            return self._receive(self._fd)
        return None
