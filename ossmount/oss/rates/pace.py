"""How many requests a second OSS takes from us, learned from its throttling answers. Pure.

Without throttling there is no limit. When a good share of the answers in a window are refusals, the rate falls to a little
below what got through, and that is remembered as the ceiling. Just below the ceiling the rate grows by equal steps until it is
refused again; where it is far below, since a busy machine asked for little or since everything was refused for a while, it
doubles until it is there. So a ceiling is used to more than nine tenths (the tests simulate it), the end of an outage is met
within seconds, and single refusals, which no slower pace would have prevented, slow nothing down.

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
#: The rate after that, as a multiple of what got through, and of itself at least.
_DECREASE: Final = 0.95
_DEEPEST: Final = 0.5
#: Where less than this share of the rate was asked for, by a busy machine, what got through says nothing: a multiple of itself.
_FULLY: Final = 0.7
_STALLED: Final = 0.8
#: Where less got through than this multiple of what was refused, it was an outage and no ceiling.
_OUTAGE: Final = 0.2
#: Requests a second that the first cut leaves, at least: the first answers say little about what gets through.
_FIRST_RATE: Final = 16.0
#: Requests a second below which nothing is learned: where all are refused, so many ask whether that has ended.
_LEAST: Final = 8.0
#: Growth a second, as a share of the ceiling, from just below it on.
_INCREASE: Final = 0.02
#: The same as a factor where the rate is below that; and when there was no cut for so many seconds: the ceiling was lifted.
_SEARCH: Final = 4.0
_LIFTED: Final = 1.5
_CALM: Final = 10.0
#: A rate grows fast only while so much of it is used: else it says nothing.
_USED: Final = 0.4
#: Requests a second; fewer grow fast also when they are not used, and a ceiling of fewer is forgotten after so many seconds
#: without a cut: what looked like one was the end of an outage.
_FEW: Final = 32.0
_OVER: Final = 1.0
#: Seconds within which a ceiling that is met a second time is lower than was thought: at least so much of that is left.
_AGAIN: Final = 3.0
_LOWER: Final = 0.7
#: Seconds without throttling, and with less asked for than allowed, after which the limit is dropped.
_FORGET: Final = 20.0


class Pace:
    """The learned rate. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.rate = math.inf  # requests a second
        self._window = now  # when the current window began
        self._good = 0  # answers in it
        self._refused = 0
        self._cut = -math.inf  # when so much was refused last
        self._ceiling = math.inf  # requests a second that got through when it was met; inf: not known
        self._met = -math.inf  # when it was met last

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.0f}/s below {self._ceiling:.0f}/s>"

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
        much = refused >= (_FIRST_SHARE if self.rate == math.inf else _SHARE) * (good + refused)
        if much and refused:
            if good + refused >= _ENOUGH:
                self._decrease(good, refused, elapsed, now)
            self._cut = now
        elif now - self._cut > _FORGET and goodput < self.rate / 2:
            self.rate = self._ceiling = math.inf
        elif not much:
            self._increase(goodput, min(elapsed, 1.0), now)
        self._window, self._good, self._refused = now, 0, 0

    def _decrease(self, good: int, refused: int, elapsed: float, now: float) -> None:
        goodput, asked = good / elapsed, (good + refused) / elapsed
        if self.rate == math.inf:  # who was refused was waiting then, and asked for less than the ceiling
            self.rate = max(_FIRST_RATE, goodput * _DECREASE)
        elif asked < self.rate * _FULLY:  # too much at once, and nobody knows how much is not too much
            self.rate *= _STALLED
        else:
            if good > refused * _OUTAGE:
                lower = self._ceiling * _LOWER if now - self._met <= _AGAIN else self._ceiling
                self._ceiling = goodput if lower == math.inf else max(goodput, lower)
                self._met = now
            self.rate = min(self.rate, max(self.rate * _DEEPEST, goodput * _DECREASE))
        self.rate = max(_LEAST, self.rate)

    def _increase(self, goodput: float, elapsed: float, now: float) -> None:
        """After a window without refusals to speak of."""
        few = self.rate < _FEW
        used = few or goodput >= self.rate * _USED
        near = self._ceiling * _DECREASE
        if self.rate < near:
            if used:
                self.rate = min(near, self.rate * _SEARCH**elapsed)
        elif few and now - self._cut > _OVER:
            self._ceiling = math.inf
        elif now - self._cut <= _CALM:
            self.rate += self._ceiling * _INCREASE * elapsed
        elif used:
            self.rate *= _LIFTED**elapsed
