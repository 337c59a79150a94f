"""How long an answer is waited for, learned from the answers that came: when to give an attempt up, and when to ask twice.

A fixed limit is either so long that a connection which died silently holds a reader for a quarter of a minute, or so short
that a far or slow store is given up while it works. So it follows the 99th percentile of the last answers, doubles for a
request that was given up before, and what was given up counts as an answer that took so long: a store that becomes slow as
a whole moves the limit and is not asked again and again.

Everything here is arithmetic, once a second, on the histogram that is kept anyway: an answer costs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ossmount.durations import BUCKETS, quantile

if TYPE_CHECKING:
    from ossmount.oss.fetch.connection import Connection
    from ossmount.oss.fetch.job import Job

#: An attempt is given up after so many times the 99th percentile, and never before so many seconds: on a busy machine whoever
#: waits may not have run for a second.
_TIMES: Final = 8.0
_LEAST: Final = 2.0
#: What an answer counts a second later. Half of it is gone after 13 s.
_FADING: Final = 0.95
#: Answers that must count before anything follows from them.
_ENOUGH: Final = 64.0
#: Second requests for each first one, and how many may come together.
_SHARE: Final = 0.03
_BURST: Final = 8.0


class Patience:
    """What was learned. All times are seconds."""

    def __init__(self, most: float, hedge_above: float = math.inf) -> None:
        """most: the longest silence of any attempt. hedge_above: a request is never made twice before; inf: never at all."""
        self._most = most
        self._hedge_above = hedge_above
        self._silence = most
        self._counted = [0] * BUCKETS  # of the histogram, at the last look
        self._recent = [0.0] * BUCKETS
        self._looked = -math.inf
        self.hedge_after = math.inf  # a request that has waited for so long is made twice

    def __repr__(self) -> str:
        return f"<Patience {self._silence:.1f} s, a second request after {self.hedge_after:.3f} s>"

    def silence(self, given_up: int) -> float:
        """How long nothing may come, for a request that was given up so many times before."""
        return min(self._most, self._silence * (1 << min(given_up, 8)))

    def silent(self, seconds: float) -> None:
        """An answer had not come after so long."""
        self._recent[int(seconds * 1e6).bit_length()] += 1.0

    def late(self, connections: Iterable[Connection], now: float) -> Iterator[Job]:
        """The jobs that a reader waits for, with one request under way that has been silent for too long."""
        for connection in connections:
            job = connection.job
            if (
                job is not None
                and now - connection.begun >= self.hedge_after
                and job.demand
                and job.rival is None
                and connection.silent
            ):
                yield job

    def learn(self, buckets: Sequence[int], now: float) -> None:
        """Looks at the running histogram of the seconds until first bytes (ossmount.durations)."""
        elapsed = now - self._looked
        if elapsed < 1.0:
            return
        fading = _FADING ** min(elapsed, 1000.0)
        self._looked = now
        self._recent = [
            kept * fading + count - before for kept, count, before in zip(self._recent, buckets, self._counted, strict=True)
        ]
        self._counted = list(buckets)
        total = sum(self._recent)
        late = quantile({"count": total, "buckets": self._recent}, 0.99) if total >= _ENOUGH else None
        self._silence = self._most if late is None else min(self._most, max(_LEAST, _TIMES * late))
        self.hedge_after = math.inf if late is None else max(late, self._hedge_above)


class Budget:
    """How many second requests may be made: three for a hundred first ones, whatever the store does."""

    def __init__(self) -> None:
        self._requests = 0
        self._credit = 0.0

    def earn(self, requests: int) -> None:
        """requests: all that were ever made, second ones included."""
        self._credit = min(_BURST, self._credit + _SHARE * (requests - self._requests))
        self._requests = requests

    def spend(self) -> bool:
        """Takes one; False when there is none."""
        if self._credit < 1.0:
            return False
        self._credit -= 1.0 + _SHARE  # it will be counted among the requests
        return True
