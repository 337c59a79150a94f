"""Which parts of an object were fetched, and the checksum of each: enough of them, and the object can be judged.

Of each object in work there is a list of stretches that do not touch each other. A range that overlaps what is there already
is left out (its own checksum says nothing of a part of it); it is judged the next time round, when the object is covered anew.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Final, NamedTuple

from ossmount.data.combine import combined
from ossmount.model import Version

#: Objects in work; the one that was touched longest ago gives way.
OBJECTS: Final = 256
#: Stretches of one object, 0.2 KB each: more has only a reader at random places, who covers nothing.
STRETCHES: Final = 2048

_start = itemgetter(0)


class Stretch(NamedTuple):
    """Bytes from start to end of the object, and their CRC-64."""

    start: int
    end: int
    crc: int


class Coverages:
    """The objects in work."""

    def __init__(self, objects: int = OBJECTS, stretches: int = STRETCHES) -> None:
        self._most = objects
        self._most_stretches = stretches
        self._objects: dict[Version, list[Stretch]] = {}  # touched longest ago first
        self.given_up = 0  # objects that were left in pieces

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, version: Version, start: int, end: int, crc: int) -> int | None:
        """Takes the checksum of a range; that of the whole object once all of it is there, which then begins anew."""
        stretches = self._objects.pop(version, None)
        if stretches is None:
            stretches = []
            if len(self._objects) >= self._most:
                self.forget(next(iter(self._objects)))
        _put(stretches, Stretch(start, end, crc))
        if stretches[0].start == 0 and stretches[0].end == version.size:
            return stretches[0].crc
        if len(stretches) > self._most_stretches:
            self.given_up += 1
            return None
        self._objects[version] = stretches
        return None

    def lacks_only(self, version: Version, start: int, end: int) -> bool:
        """Whether all of the version but this range is there."""
        there = self._objects.get(version, ())
        around = [(0, start)] * (start > 0) + [(end, version.size)] * (end < version.size)
        return len(there) == len(around) and [(stretch.start, stretch.end) for stretch in there] == around

    def forget(self, version: Version) -> None:
        """What was fetched of the version is of no use."""
        if self._objects.pop(version, None) is not None:
            self.given_up += 1


def _put(stretches: list[Stretch], new: Stretch) -> None:
    """Puts a stretch where it belongs and joins it with its neighbours, unless it overlaps one."""
    at = bisect_right(stretches, new.start, key=_start)
    before = stretches[at - 1] if at else None
    behind = stretches[at] if at < len(stretches) else None
    if (before is not None and before.end > new.start) or (behind is not None and behind.start < new.end):
        return
    first = last = at
    if before is not None and before.end == new.start:
        new = _joined(before, new)
        first = at - 1
    if behind is not None and behind.start == new.end:
        new = _joined(new, behind)
        last = at + 1
    stretches[first:last] = [new]


def _joined(first: Stretch, second: Stretch) -> Stretch:
    return Stretch(first.start, second.end, combined(first.crc, second.crc, second.end - second.start))
