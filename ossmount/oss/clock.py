"""The time that requests are signed with: this machine's clock, put right by what OSS says when it refuses it.

OSS takes no request that was signed more than 15 minutes off its own time (403 RequestTimeTooSkewed), and its answer has a
Date. A node without NTP reads its data all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: The code of the refusal that tells OSS's time.
REFUSAL: Final = "RequestTimeTooSkewed"
#: Seconds by which the offset must change to be told again: a Date has whole seconds and travels for a while.
_NEWS: Final = 60.0


class ServerClock:
    """Seconds since the epoch as OSS has them. Any thread may call and teach it."""

    def __init__(self, clock: Callable[[], float] = time.time, tell: Callable[[float], object] = lambda offset: None) -> None:
        """tell: called with the offset when it is news."""
        self._clock = clock
        self._tell = tell
        self._told = 0.0
        self.offset = 0.0  # seconds that OSS is ahead of this machine

    def __repr__(self) -> str:
        return f"<ServerClock {self.offset:+.0f} s>"

    def __call__(self) -> float:
        return self._clock() + self.offset

    def learn(self, date: str) -> bool:
        """Takes over the Date of an answer that refused our time; False when it is none."""
        from email.utils import parsedate_to_datetime  # 6 ms of a fetch process's start, for clocks that are wrong

        try:
            offset = parsedate_to_datetime(date).timestamp() - self._clock()
        except (TypeError, ValueError, OverflowError):
            return False
        self.offset = offset
        if abs(offset - self._told) > _NEWS:
            self._told = offset
            self._tell(offset)
        return True
