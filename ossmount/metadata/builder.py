"""Lists a whole tree into the store, with many requests at once.

The key space is cut at the names of directories, found by a few LISTs with a delimiter, into more parts than there are
requests under way; each part is listed flat from its first key to its last. A part that turns out to be one large directory
is cut again where its names let guess how they go on. What is listed twice costs a request and changes nothing.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import trio

from ossmount.errors import OssMountError
from ossmount.metadata import keys
from ossmount.metadata.ahead import guess
from ossmount.metadata.flights import together
from ossmount.metadata.pages import Split
from ossmount.metadata.refresher import PAGE, Refresher
from ossmount.metadata.store import ROOT
from ossmount.metadata.tree import Tree

WORKERS = 16  # requests under way, which keep a core busy where each takes 30 ms
MOST_WORKERS = 64  # where they take longer: each page that waits to be taken in is a MiB
_TURN = 0.004  # seconds of a request for each worker: half of what one core needs to take a page in
PARTS = 64  # so that the last worker does not work alone for long; each lists half a page too much
CUT = 16  # pages that one worker keeps of a large directory; the rest is for the others
_EXPANDED = WORKERS  # directories that are looked into for finer parts


class Part(NamedTuple):
    """A stretch of the key space: from a start-after up to `end`; b"" is the end of everything."""

    start: bytes
    end: bytes


class Progress(NamedTuple):
    """How far a build is."""

    files: int  # so far
    lists: int
    fraction: float  # of the parts known so far; 1 at the end


class Builder:
    """One build."""

    def __init__(self, tree: Tree, refresher: Refresher) -> None:
        self._tree = tree
        self._refresher = refresher
        self._lists = refresher.count("list")
        self._files = 0
        self._limiter = trio.CapacityLimiter(WORKERS)
        self._parts = 0
        self._done = 0
        self._failure: OssMountError | None = None

    def progress(self) -> Progress:
        lists = self._refresher.count("list") - self._lists
        return Progress(self._files, lists, self._done / self._parts if self._parts else 0.0)

    async def run(self) -> None:
        """Raises the first failure of a request; what was listed before it stays in the store."""
        parts = cut(await self._boundaries())
        async with trio.open_nursery() as nursery:
            for part in parts:
                self._start(nursery, part)
        if self._failure is not None:
            raise self._failure

    def _start(self, nursery: trio.Nursery, part: Part) -> None:
        self._parts += 1
        nursery.start_soon(self._list, nursery, part)

    async def _list(self, nursery: trio.Nursery, part: Part) -> None:
        async with self._limiter:
            try:
                at: bytes | None = part.start
                whole = True
                while at is not None and (not part.end or at < part.end):
                    split = await self._refresher.flat_split(ROOT, at, "build")
                    at = split.last
                    self._files += _files(split, part.end)
                    if whole and (boundary := _boundary(split)) and (not part.end or boundary < part.end):
                        self._start(nursery, Part(boundary, part.end))
                        part = Part(part.start, boundary)
                        whole = False
            except OssMountError as failure:
                self._failure = self._failure or failure
                nursery.cancel_scope.cancel()
        self._done += 1

    async def _boundaries(self) -> list[bytes]:
        """Prefixes of directories, in order: of the top, then of the directories there, until there are enough."""
        found: list[bytes] = []
        level = [ROOT]
        while level and len(found) < PARTS:
            asked = trio.current_time()
            await together(
                [partial(self._refresher.page, number, b"", b"/", share=True, what="build") for number in level[:_EXPANDED]]
            )
            if level == [ROOT]:
                took = trio.current_time() - asked
                self._limiter.total_tokens = max(WORKERS, min(MOST_WORKERS, int(took / _TURN)))
            below = [child for number in level[:_EXPANDED] for child in self._tree.directories(number)]
            found.extend(self._tree.prefix(number) for number in below)
            level = below
        return sorted(found)


def _files(split: Split, end: bytes) -> int:
    """How many files a page shows below a key; b"": all. The last page of a part goes on into the next one."""
    if not end or (split.last is not None and split.last < end):
        return sum(len(stretch.files) for stretch in split.stretches)
    return sum(stretch.prefix + name < end for stretch in split.stretches for name, _ in stretch.files)


def _boundary(split: Split) -> bytes | None:
    """A key some pages behind a page that shows the middle of a large directory: it neither begins nor ends there."""
    if split.last is None:
        return None
    stretch = max((s for s in split.stretches if s.high is not None), key=lambda s: len(s.prefix))
    if len(stretch.files) < PAGE // 2 or not stretch.low:
        return None
    made = guess([name for name, _ in stretch.files])
    at = made.value(stretch.files[-1][0]) if made is not None else None
    name = made.name(at + CUT * made.step) if made is not None and at is not None else None
    if name is None or not keys.is_utf8(name) or len(stretch.prefix) + len(name) > keys.KEY_MAX:
        return None
    return stretch.prefix + name


def cut(boundaries: list[bytes]) -> list[Part]:
    """PARTS to twice as many parts, where there are as many boundaries, that cover everything without a gap."""
    step = max(1, len(boundaries) // PARTS)
    starts = [keys.start_before(boundary) for boundary in boundaries[::step]]
    starts = [b"", *(start for start in starts if start)]
    return [Part(start, end) for start, end in zip(starts, [*starts[1:], b""], strict=True)]
