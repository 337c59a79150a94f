"""What a READDIR did not take: the rest of a listing, kept for the next one.

The filesystem lists thousands of names at a time, and the kernel asks for one page (about 25 names) at a time up to Linux
6.14: without this every page would list again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from ossmount.filesystem.interface import DirectoryEntry

DIRECTORIES = 32  # whose rests are kept; as many walkers as a node has, at about 0.5 KB a name
READERS = 8  # of one directory, each at its own offset


class Rest(NamedTuple):
    """The names of a listing from position on, and when it was made (trio's clock, seconds)."""

    names: Sequence[DirectoryEntry]
    position: int
    made: float


class Listings:
    """The rests by directory and offset, bounded; the oldest go first."""

    def __init__(self) -> None:
        self._rests: OrderedDict[int, OrderedDict[int, Rest]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._rests.values()))

    def take(self, node: int, offset: int) -> Rest | None:
        """Hands out and forgets what follows the offset."""
        rests = self._rests.get(node)
        rest = rests.pop(offset, None) if rests else None
        if rests is not None and not rests:
            del self._rests[node]
        return rest

    def keep(self, node: int, offset: int, rest: Rest) -> None:
        rests = self._rests.setdefault(node, OrderedDict())
        rests[offset] = rest
        self._rests.move_to_end(node)
        if len(rests) > READERS:
            rests.popitem(last=False)
        if len(self._rests) > DIRECTORIES:
            self._rests.popitem(last=False)

    def drop(self, node: int) -> None:
        """The directory changed: the next READDIR asks the filesystem."""
        self._rests.pop(node, None)
