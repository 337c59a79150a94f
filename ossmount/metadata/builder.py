"""Lists a whole tree into the store, with many requests at once.

The key space is cut at the names of directories, found by a few LISTs with a delimiter, into more parts than there are
workers; each worker takes the next part and lists it flat from its first key to its last. What is
listed twice costs a request and changes nothing. One large directory of files is one part: it is listed page after page.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ossmount.metadata import keys
from ossmount.metadata.refresher import Refresher, together
from ossmount.metadata.store import ROOT
from ossmount.metadata.tree import Tree

WORKERS = 16  # requests under way; at 30 ms each more than two cores can take in
PARTS = 128  # so that the last worker does not work alone for long
_EXPANDED = WORKERS  # directories that are looked into for finer parts


class Part(NamedTuple):
    """A stretch of the key space: from a start-after up to `end`; b"" is the end of everything."""

    start: bytes
    end: bytes


class Builder:
    """One build; `pages` counts as it goes on."""

    def __init__(self, tree: Tree, refresher: Refresher) -> None:
        self._tree = tree
        self._refresher = refresher
        self.pages = 0

    async def run(self) -> None:
        """Raises the first failure of a request; what was listed before it stays in the store."""
        parts = iter(cut(await self._boundaries()))

        async def work() -> None:
            for part in parts:
                await self._list(part)

        await together([work] * WORKERS)

    async def _list(self, part: Part) -> None:
        at: bytes | None = part.start
        while at is not None and (not part.end or at < part.end):
            self.pages += 1
            at = await self._refresher.flat_page(ROOT, at)

    async def _boundaries(self) -> list[bytes]:
        """Prefixes of directories, in order: of the top, then of the directories there, until there are enough."""
        found: list[bytes] = []
        level = [ROOT]
        while level and len(found) < PARTS:
            await together([partial(self._refresher.page, number, b"", b"/", share=True) for number in level[:_EXPANDED]])
            below = [child for number in level[:_EXPANDED] for child in self._tree.directories(number)]
            found.extend(self._tree.prefix(number) for number in below)
            level = below
        return sorted(found)


def cut(boundaries: list[bytes]) -> list[Part]:
    """At most PARTS parts that cover everything without a gap."""
    step = max(1, len(boundaries) // PARTS)
    starts = [keys.start_before(boundary) for boundary in boundaries[::step]]
    starts = [b"", *(start for start in starts if start)]
    return [Part(start, end) for start, end in zip(starts, [*starts[1:], b""], strict=True)]
