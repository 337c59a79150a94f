"""Lists the rest of a directory when lookups of single names in it keep missing.

Each lookup that misses costs a page and shows the thousand keys behind its name; the keys before it stay unknown, so random
lookups leave ever smaller gaps: some fifty pages for ten thousand keys that fit in ten. From the fourth miss on, the whole
is listed from its beginning, within a budget of a few pages for each page that misses cost: never more than a factor on top
where the directory is too large for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cachetools import LRUCache

from ossmount.errors import OssMountError

FIRST = 4  # misses in a directory before anything is listed ahead
PAGES_PER_MISS = 4
MOST = 256  # pages; in a larger directory each random lookup goes on costing one page, and no more


class _State:
    """What is known of one directory: pages that misses cost, pages that filling cost, and where it goes on."""

    def __init__(self) -> None:
        self.misses = 0
        self.pages = 0
        self.cursor: bytes | None = b""  # a whole key; None at the end
        self.busy = False


class Filler:
    """Owned by the refresher; `page` lists flat from a key on and returns the last key, None at the directory's end."""

    def __init__(self, page: Callable[[int, bytes], Awaitable[bytes | None]]) -> None:
        self._page = page
        self._states: LRUCache[int, _State] = LRUCache(1024)

    def missed(self, directory: int) -> bool:
        """Counts one page for a lookup; True: run fill() now."""
        state = self._states.setdefault(directory, _State())
        state.misses += 1
        return not state.busy and state.misses >= FIRST and state.pages < min(MOST, state.misses * PAGES_PER_MISS)

    async def fill(self, directory: int) -> None:
        """Lists on while the budget lasts. A failure ends it: whoever needs a name asks for it and is told."""
        state = self._states.setdefault(directory, _State())
        state.busy = True
        try:
            while state.cursor is not None and state.pages < min(MOST, state.misses * PAGES_PER_MISS):
                state.pages += 1
                state.cursor = await self._page(directory, state.cursor)
            if state.cursor is None:
                self._states.pop(directory, None)  # when it has become old, misses count anew
        except OssMountError:
            state.misses = 0
        finally:
            state.busy = False
