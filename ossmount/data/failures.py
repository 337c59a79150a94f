"""Failures that took until the deadline are repeated at once for a moment.

The kernel repeats a failed READ of 1 MiB page by page. Each of those would wait for the whole deadline again, and a program
that reads through a dead network would hang for hours instead of failing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ossmount.errors import DeadlineExceeded, OssMountError, Throttled, Unavailable
from ossmount.model import Version

SECONDS = 2.0
MOST = 256  # failures remembered; the oldest gives way
SLOW = (DeadlineExceeded, Throttled, Unavailable)  # those that come at the end of the retries


class _Failure(NamedTuple):
    until: float
    version: Version
    start: int
    end: int
    error: OssMountError


class Failures:
    """The failures of the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: deque[_Failure] = deque(maxlen=MOST)

    def remember(self, version: Version, start: int, end: int, error: OssMountError) -> None:
        """A demand fetch of the range has failed."""
        if isinstance(error, SLOW):
            self._recent.append(_Failure(self._clock() + SECONDS, version, start, end, error))

    def recall(self, version: Version, start: int, end: int) -> OssMountError | None:
        """The failure of any byte of the range, if it is recent."""
        if not self._recent:
            return None
        now = self._clock()
        while self._recent and self._recent[0].until <= now:
            self._recent.popleft()
        for failure in self._recent:
            if failure.version == version and failure.start < end and start < failure.end:
                return failure.error
        return None
