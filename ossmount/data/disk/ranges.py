"""Parts of a fetch: what is missing of it."""

from __future__ import annotations

from typing import Final

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
