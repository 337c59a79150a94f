"""How many requests a second OSS takes from us, learned from its throttling answers: AIMD. Pure.

Without throttling there is no limit. When a good share of the answers in a window are refusals, the rate falls to a little
below what got through; then it grows by equal steps until that happens again. So a ceiling is used to more than nine tenths
(the tests simulate it), one that is lifted is left behind within seconds, and single refusals, which no slower pace would
have prevented, slow nothing down.

One pace holds for all that asks OSS, since OSS counts an account and not a process.
"""

from __future__ import annotations

import math
from typing import Final

#: Seconds over which answers are counted, and answers that say something.
_WINDOW: Final = 0.5
_ENOUGH: Final = 4
#: Share of refusals from which on the rate is to blame.
_SHARE: Final = 0.1
#: The same while there is no limit yet: single refusals are to be told from a ceiling.
_FIRST_SHARE: Final = 0.15
#: The rate after that, as a multiple of what got through; and of itself at least: a busy machine may have asked for little.
_DECREASE: Final = 0.95
_DEEPEST: Final = 0.7
#: Requests a second that the first cut leaves, at least: the first answers say little about what gets through.
_FIRST_RATE: Final = 16.0
#: Growth a second, as a share of the rate that the last cut left.
_INCREASE: Final = 0.02
#: The same as a share of itself, after a cut that says little (the first one: who was refused was waiting then, and asked for
#: less than the ceiling), until the next; and when there was none for so many seconds: the ceiling was lifted.
_FAST_GROWTH: Final = 0.5
_CALM: Final = 10.0
#: Seconds without throttling, and with less asked for than allowed, after which the limit is dropped.
_FORGET: Final = 20.0


class Pace:
    """The learned rate. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.rate = math.inf  # requests a second
        self._window = now  # when the current window began
        self._good = 0  # answers in it
        self._refused = 0
        self._cut = -math.inf  # when the rate was cut last
        self._step = 0.0  # requests a second, each second
        self._searching = False  # the last cut said little

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.0f}/s>"

    def answered(self, good: int, refused: int, now: float) -> None:
        """So many requests were let through, whatever came of them, and so many refused for their rate."""
        self._good += good
        self._refused += refused
        if now - self._window >= _WINDOW:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Ends a window."""
        elapsed, good, refused = now - self._window, self._good, self._refused
        goodput = good / elapsed
        blind = self.rate == math.inf
        much = refused >= (_FIRST_SHARE if blind else _SHARE) * (good + refused)
        if much and refused and good + refused >= _ENOUGH:
            least = _FIRST_RATE if blind else self.rate * _DEEPEST
            self._searching = blind or goodput * _DECREASE < least
            self.rate = max(1.0, min(self.rate, max(least, goodput * _DECREASE)))
            self._cut = now
            self._step = self.rate * _INCREASE
        elif now - self._cut > _FORGET and goodput < self.rate / 2:
            self.rate = math.inf
        elif not much:
            fast = self._searching or now - self._cut > _CALM
            grown = self.rate * _FAST_GROWTH if fast else self._step
            self.rate += grown * min(elapsed, 1.0)
        self._window, self._good, self._refused = now, 0, 0
