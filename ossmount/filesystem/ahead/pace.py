"""Whether look-ahead pays, and how many fetches of it may be under way. Pure.

At no latency a file that is fetched ahead comes no sooner than one that its reader asks for, and the fetching takes the
readers' cores: 2 cores, 110 KB files, nothing between client and store: 10 to 20 % fewer files/s with look-ahead than
without. So it begins at 3 ms until the first byte, and ends below 2 ms.
"""

from __future__ import annotations

from collections import deque

ON = 0.003  # seconds until the first byte of an answer
OFF = 0.002
FIRST = 16  # fetches
LEAST = 4
_MEMORY = 8  # rounds; the quickest of them all says what a fetch takes when nothing stands in its way


class Gate:
    """Open while the store is far enough away."""

    def __init__(self) -> None:
        self.open = False

    def update(self, latency: float | None) -> bool:
        """latency: seconds until the first byte of an answer; None: not known yet. Returns whether it is open."""
        if latency is not None:
            self.open = latency >= (OFF if self.open else ON)
        return self.open


class Pace:
    """How many fetches ahead may be under way: doubles while they take no longer for it, falls when they queue.

    Demand goes first in the fetch processes; fetches ahead that take four times as long as they could are waiting for it,
    or for bandwidth, or for a core that a reader could use.
    """

    def __init__(self, most: int) -> None:
        self.most = max(LEAST, most)
        self.limit = min(FIRST, self.most)
        self._round: list[float] = []
        self._quickest: deque[float] = deque(maxlen=_MEMORY)

    def __repr__(self) -> str:
        return f"<Pace {self.limit} of {self.most}>"

    def took(self, seconds: float) -> None:
        """One fetch has ended well."""
        self._round.append(seconds)
        if len(self._round) < self.limit:
            return
        self._round.sort()
        median = self._round[len(self._round) // 2]
        self._quickest.append(self._round[len(self._round) // 8])
        self._round = []
        base = min(self._quickest)
        if median < 2 * base:
            self.limit = min(self.most, self.limit * 2)
        elif median < 3 * base:
            self.limit = min(self.most, self.limit + 8)
        elif median > 5 * base:
            self.limit = max(LEAST, self.limit * 3 // 4)

    def failed(self) -> None:
        """One fetch has failed."""
        self.limit = max(LEAST, self.limit - 1)
