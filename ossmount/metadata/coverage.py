"""Coverage: the stretches of a directory's positions that listings have shown completely, and when.

An immutable value: intervals [low, high) over positions (see keys.position_of), sorted and disjoint, high None for "to the
end". A name inside an interval that the store does not hold does not exist.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import NamedTuple

_HEAD = struct.Struct("<dHH")
_END = 0xFFFF  # length of a high that is None


class Interval(NamedTuple):
    """Positions from low up to, without, high; the listing was asked at `time` (seconds since the epoch)."""

    low: bytes
    high: bytes | None
    time: float

    def before(self, position: bytes) -> bool:
        return self.high is not None and self.high <= position


class Reach(NamedTuple):
    """How far a directory is known from some position on."""

    high: bytes | None  # known up to here; None: to the end
    time: float  # of the oldest listing on the way


class Coverage(NamedTuple):
    """The coverage of one directory."""

    intervals: tuple[Interval, ...] = ()

    def at(self, position: bytes) -> float:
        """When the position was last shown by a listing; minus infinity if never."""
        found = self._holding(position)
        return self.intervals[found].time if found >= 0 else -float("inf")

    def reach(self, position: bytes, newer_than: float) -> Reach | None:
        """The gapless stretch from position on that is younger than newer_than; None if there is none."""
        index = self._holding(position)
        if index < 0 or self.intervals[index].time <= newer_than:
            return None
        _, high, time = self.intervals[index]
        for low, next_high, next_time in self.intervals[index + 1 :]:
            if high is None or low != high or next_time <= newer_than:
                break
            high, time = next_high, min(time, next_time)
        return Reach(high, time)

    def overlaps(self, low: bytes, high: bytes | None) -> bool:
        return any((high is None or i.low < high) and not i.before(low) for i in self.intervals)

    def without(self, low: bytes, high: bytes | None) -> Coverage:
        """The same with [low, high) unknown."""
        kept: list[Interval] = []
        for i in self.intervals:
            if i.before(low) or (high is not None and i.low >= high):
                kept.append(i)
                continue
            if i.low < low:
                kept.append(Interval(i.low, low, i.time))
            if high is not None and (i.high is None or i.high > high):
                kept.append(Interval(high, i.high, i.time))
        return Coverage(tuple(kept))

    def including(self, low: bytes, high: bytes | None, time: float, slack: float = 0.0) -> Coverage:
        """The same with [low, high) known as of `time`.

        Neighbours whose times differ by at most `slack` seconds become one interval with the older time, so that a
        listing of a thousand pages does not leave a thousand intervals.
        """
        if high is not None and high <= low:
            return self
        merged: list[Interval] = []
        for i in sorted((*self.without(low, high).intervals, Interval(low, high, time)), key=lambda i: i.low):
            if merged and merged[-1].high == i.low and abs(merged[-1].time - i.time) <= slack:
                merged[-1] = Interval(merged[-1].low, i.high, min(merged[-1].time, i.time))
            else:
                merged.append(i)
        return Coverage(tuple(merged))

    def pack(self) -> bytes:
        parts: list[bytes] = []
        for low, high, time in self.intervals:
            parts.append(_HEAD.pack(time, len(low), _END if high is None else len(high)))
            parts.append(low)
            parts.append(high or b"")
        return b"".join(parts)

    @classmethod
    def unpack(cls, data: bytes) -> Coverage:
        intervals: list[Interval] = []
        at = 0
        while at < len(data):
            time, low_size, high_size = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            low = data[at : at + low_size]
            at += low_size
            high: bytes | None = None
            if high_size != _END:
                high = data[at : at + high_size]
                at += high_size
            intervals.append(Interval(low, high, time))
        return cls(tuple(intervals))

    def _holding(self, position: bytes) -> int:
        index = bisect_right(self.intervals, position, key=lambda i: i.low) - 1
        if index < 0 or self.intervals[index].before(position):
            return -1
        return index
