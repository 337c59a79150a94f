"""How many requests a second OSS takes from us, learned from its throttling answers. Pure.

Without throttling there is no limit. When a good share of the answers in a window are refusals, the rate is set a little
above what got through; then it grows until that happens again. So a ceiling is used to more than nine tenths (the tests
simulate it), one that is lifted is left behind within seconds, and single refusals, which no slower pace would have
prevented, slow nothing down.
"""

from __future__ import annotations

import math
from typing import Final

#: Seconds over which answers are counted, and answers that say something.
_WINDOW: Final = 0.5
_ENOUGH: Final = 4
#: Share of refusals from which on the rate is to blame.
_SHARE: Final = 0.15
#: The rate after that, as a multiple of what got through; and of itself where nothing did.
_ABOVE: Final = 1.05
_BLIND: Final = 0.5
#: Requests a second that the first cut leaves, at least: the first answers say little about what gets through.
_FIRST_RATE: Final = 16.0
#: Growth a second, and when there was no cut for _CALM seconds.
_GROWTH: Final = 0.05
_FAST_GROWTH: Final = 0.5
_CALM: Final = 3.0
#: Seconds without throttling, and with less asked for than allowed, after which the limit is dropped.
_FORGET: Final = 20.0
#: Seconds of requests that may start at once, as the timer of the poller is coarse.
_BURST: Final = 0.02


class Pace:
    """The rate of one process. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.rate = math.inf  # requests a second
        self._next = now  # when the next request may start
        self._window = now  # when the current window began
        self._good = 0  # answers in it
        self._refused = 0
        self._cut = -math.inf  # when the rate was cut last

    def wait(self, now: float) -> float:
        """Seconds until the next request may start; 0 for now."""
        return max(0.0, self._next - now) if self.rate < math.inf else 0.0

    def started(self, now: float) -> None:
        """A request starts."""
        if self.rate < math.inf:
            self._next = max(self._next, now - _BURST) + 1.0 / self.rate

    def answered(self, now: float) -> None:
        """A request was let through, whatever came of it."""
        self._good += 1
        if now - self._window >= _WINDOW:
            self._judge(now)

    def throttled(self, now: float) -> None:
        """A request was refused for its rate."""
        self._refused += 1
        if now - self._window >= _WINDOW:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Ends a window."""
        elapsed, good, refused = now - self._window, self._good, self._refused
        goodput = good / elapsed
        if refused >= _SHARE * (good + refused) and good + refused >= _ENOUGH:
            blind = _FIRST_RATE if self.rate == math.inf else self.rate * _BLIND
            self.rate = max(1.0, min(self.rate, max(blind, goodput * _ABOVE)))
            self._cut = now
        elif now - self._cut > _FORGET and goodput < self.rate / 2:
            self.rate = math.inf
        elif refused < _SHARE * (good + refused):
            growth = _FAST_GROWTH if now - self._cut > _CALM else _GROWTH
            self.rate *= 1.0 + growth * min(elapsed, 1.0)
        self._window, self._good, self._refused = now, 0, 0
