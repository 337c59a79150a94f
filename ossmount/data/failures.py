"""Failures that are repeated at once: those that took until the deadline, for a moment, and damage that was found too late.

The kernel repeats a failed READ of 1 MiB page by page. Each of those would wait for the whole deadline again, and a program
that reads through a dead network would hang for hours instead of failing.

Once the trouble is over (a token was renewed, an outage has ended) the 256 pages of that READ would be 256 requests of 4 KiB,
also much later: the kernel keeps the pages and reads each by itself. So the first of them fetches all that had failed.

Of a version whose bytes were given out before all of them together failed their checksum nothing is read for a minute: long
enough that whoever was reading it is told, and a job that is started again reads it anew, and has it checked anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ossmount.errors import DeadlineExceeded, OssMountError, Throttled, Unavailable
from ossmount.model import Version

SECONDS = 2.0
PAGE_BY_PAGE = 600.0  # seconds for which the kernel is expected to ask for what failed page by page
CONDEMNED = 60.0  # seconds for which a version that failed its checksum is not read
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
        self._failed: deque[_Failure] = deque(maxlen=MOST)  # for whatever reason
        self._condemned: deque[_Failure] = deque(maxlen=MOST)

    def remember(self, version: Version, start: int, end: int, error: OssMountError) -> None:
        """A demand fetch of the range has failed."""
        now = self._clock()
        self._failed.append(_Failure(now + PAGE_BY_PAGE, version, start, end, error))
        if isinstance(error, SLOW):
            self._recent.append(_Failure(now + SECONDS, version, start, end, error))

    def rest(self, version: Version, offset: int) -> int:
        """The end of what failed from the offset on; the offset where nothing did."""
        if not self._failed:
            return offset
        now = self._clock()
        while self._failed and self._failed[0].until <= now:
            self._failed.popleft()
        ends = [each.end for each in self._failed if each.version == version and each.start <= offset < each.end]
        return max(ends, default=offset)

    def condemn(self, version: Version, error: OssMountError) -> None:
        """No byte of the version is to be read."""
        self._condemned.append(_Failure(self._clock() + CONDEMNED, version, 0, version.size, error))

    def recall(self, version: Version, start: int, end: int) -> OssMountError | None:
        """The failure of any byte of the range, if it is recent."""
        if not self._recent and not self._condemned:
            return None
        now = self._clock()
        for failures in (self._recent, self._condemned):
            while failures and failures[0].until <= now:
                failures.popleft()
            for failure in failures:
                if failure.version == version and failure.start < end and start < failure.end:
                    return failure.error
        return None
