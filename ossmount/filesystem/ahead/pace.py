"""Whether look-ahead pays, and how many fetches of it may be under way. Pure.

At no latency a file that is staged in our memory comes no sooner than one that its reader asks for, and fetching it ahead
takes the readers' cores. So that begins at 3 ms until the first byte, and ends below 2 ms. What is delivered into the kernel's
page cache is another matter: it saves the READ. 10,000 files of 110 KB, a busy machine of 2 cores, nothing between client and
store, twice each: 1,003 and 1,492 files/s without look-ahead, 1,435 and 2,592 with it; 0.56 and 0.41 ms of CPU for a file
against 0.36 and 0.26.
"""

from __future__ import annotations

from collections import deque

ON = 0.003  # seconds until the first byte of an answer
OFF = 0.002
FIRST = 16  # fetches
LEAST = 4
TRIAL = 64  # files
TRY_AGAIN = 30.0  # seconds after a trial that failed
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


class Landing:
    """Whether what is fetched for the kernel's page cache gets there: the kernel may not know the nodes, or not be asked."""

    def __init__(self) -> None:
        self._started = self._landed = self._missed = 0
        self._retry = 0.0

    def started(self) -> None:
        self._started += 1

    def undone(self) -> None:
        """What was started has not come to the point."""
        self._started -= 1

    def ended(self, landed: bool, now: float) -> None:
        self._landed += landed
        self._missed += not landed
        if self._landed + self._missed == TRIAL:
            self._retry = now + TRY_AGAIN
        elif self._landed + self._missed >= 4 * TRIAL:  # the last ones count more
            self._landed //= 2
            self._missed //= 2

    def pays(self, now: float) -> bool:
        """Three of four have got there; also while that is being tried."""
        done = self._landed + self._missed
        if done < TRIAL:
            return self._started < TRIAL
        if self._landed * 4 >= done * 3:
            return True
        if now >= self._retry:
            self._started = self._landed = self._missed = 0
        return False


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
