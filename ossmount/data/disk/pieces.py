"""A range of an object as the slab has it: pieces, in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from fastcrc import crc64

from ossmount.data.disk.layout import BLOCK


class Pieces:
    """Raises ValueError for pieces outside the slab."""

    __slots__ = ("_starts", "_views", "length")

    def __init__(self, slab: memoryview, targets: Sequence[tuple[int, int]]) -> None:
        self._views: list[memoryview] = []
        self._starts: list[int] = []
        at = 0
        for offset, length in targets:
            if length < 1 or offset < 0 or offset + length > len(slab):
                raise ValueError(f"target ({offset}, {length}) does not lie in a slab of {len(slab)} bytes")
            self._starts.append(at)
            self._views.append(slab[offset : offset + length])
            at += length
        self.length = at

    def views(self, at: int, length: int) -> list[memoryview]:
        """The bytes at..at+length of the range."""
        found = []
        number = bisect_right(self._starts, at) - 1
        while length:
            view = self._views[number]
            skip = at - self._starts[number]
            part = view[skip : skip + length]
            found.append(part)
            at += len(part)
            length -= len(part)
            number += 1
        return found

    def fill(self, at: int, data: memoryview) -> None:
        """Copies the data to at."""
        taken = 0
        for view in self.views(at, len(data)):
            view[:] = data[taken : taken + len(view)]
            taken += len(view)

    def checksum(self, at: int, length: int, seed: int) -> int:
        """Of the bytes at..at+length; never 0."""
        crc = seed
        for view in self.views(at, length):
            crc = crc64.xz(view, crc)
        return crc or 1

    def block_sums(self, at: int, length: int, seed: int) -> list[int]:
        """Of each block of the bytes at..at+length, the last of which may be shorter."""
        found: list[int] = []
        end = at + length
        while at < end:
            view = self.views(at, end - at)[0]
            whole = len(view) if at + len(view) == end else len(view) // BLOCK * BLOCK
            if whole:
                found += block_sums(view[:whole], seed)
                at += whole
            else:  # a block in several pieces
                found.append(self.checksum(at, min(BLOCK, end - at), seed))
                at += BLOCK
        return found


def block_sums(view: memoryview, seed: int) -> list[int]:
    """Of each block of the view. 4 KiB: 0.5 microseconds, 8 GB/s."""
    xz = crc64.xz
    return [xz(view[at : at + BLOCK], seed) or 1 for at in range(0, len(view), BLOCK)]
