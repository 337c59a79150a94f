"""Parts of a fetch: what is missing of it, and where in the slab that belongs."""

from __future__ import annotations

from typing import Final

from ossmount.oss.interface import FetchRequest

#: Bytes between two missing ranges that are fetched along: less than a second request costs.
_JOIN: Final = 128 << 10

Range = tuple[int, int]  # first byte, byte behind the last


def joined(missing: list[Range]) -> list[Range]:
    """Ranges that lie near each other as one; each begins and ends with a block."""
    found: list[Range] = []
    for start, end in missing:
        if found and start - found[-1][1] < _JOIN:
            start = found.pop()[0]
        found.append((start, end))
    return found


def targets_of(request: FetchRequest, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """The pieces of the slab for start..end of the object."""
    if end - start == request.length:
        return request.targets
    found = []
    at = request.start
    for offset, length in request.targets:
        first, last = max(at, start), min(at + length, end)
        if first < last:
            found.append((offset + first - at, last - first))
        at += length
    return tuple(found)
