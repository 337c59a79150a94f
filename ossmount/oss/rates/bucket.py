"""A token bucket, and the fair division of what is in it. Pure: all times are of one monotonic clock, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Seconds of tokens that collect while nobody wants any: the largest burst.
BURST: Final = 0.1
#: The same while somebody waits: what a busy event loop comes late with is not lost.
CATCH_UP: Final = 0.5


class Bucket:
    """Collects `rate` tokens a second. A debt, of what was used before it was known how much it is, is paid off first."""

    def __init__(self, rate: float, least: float, now: float) -> None:
        """least: tokens that may collect at any rate, or nothing could ever be begun."""
        self.rate = rate
        self._least = least
        self.catch_up = CATCH_UP  # seconds of tokens that collect while somebody waits
        self._when = now
        self.tokens = self._most(BURST)
        self.turn = 0  # which of its users gets the first of what cannot be divided evenly
        self.wanted = False  # more than there was, at the last look

    def __repr__(self) -> str:
        return f"<Bucket {self.tokens:.0f} at {self.rate:.0f}/s>"

    @property
    def half(self) -> int:
        """Tokens of half a burst."""
        return max(1, int(self._most(BURST) / 2))

    def refill(self, now: float) -> int:
        """Whole tokens that are there now."""
        most = self._most(self.catch_up if self.wanted else BURST)
        self.tokens = min(most, self.tokens + (now - self._when) * self.rate)
        self._when = now
        return max(0, int(self.tokens))

    def spend(self, tokens: int) -> None:
        """Takes tokens, also ones that are not there yet."""
        self.tokens -= tokens

    def until(self, tokens: float) -> float:
        """Seconds from the last refill until so many are there."""
        return max(0.0, (min(tokens, self._most(BURST)) - self.tokens) / self.rate)

    def _most(self, seconds: float) -> float:
        return max(self._least, self.rate * seconds)


def divide(amount: int, wants: Sequence[int], first: int) -> list[int]:
    """Parts of the amount for each want, none more than it wants and as even as that allows; the odd ones from `first` on."""
    given = [0] * len(wants)
    order = [(first + index) % len(wants) for index in range(len(wants))]
    open_ = [index for index in order if wants[index] > 0]
    while amount > 0 and open_:
        each = max(1, amount // len(open_))
        for index in open_:
            part = min(each, wants[index] - given[index], amount)
            given[index] += part
            amount -= part
        open_ = [index for index in open_ if given[index] < wants[index]]
    return given
