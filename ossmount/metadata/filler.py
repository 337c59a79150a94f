"""Lists ahead when lookups of single names keep missing: the rest of a directory, or of the tree below it.

Each lookup that misses costs a page and shows the thousand keys behind its name; random lookups leave ever smaller gaps:
some fifty pages for ten thousand keys that fit in ten. So a directory is listed from its beginning from the fourth miss on.
One with directories in it is asked which those are at the second miss, and then for pages of several of them, many at once:
eight readers that begin an epoch over 10,000 files in 100 directories wait for three answers in a row, not for ten.

A budget of a few pages for each page that misses cost bounds it: never more than a factor on top where the tree is too large.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from cachetools import LRUCache

from ossmount.metadata.pages import Split

FIRST = 4  # misses in a directory before anything is listed ahead
FIRST_BELOW = 2  # the same for one with directories in it
PAGES_PER_MISS = 4
MOST = 256  # pages; in a larger directory each random lookup goes on costing one page, and no more
AT_ONCE = 12  # pages of one directory under way

Shown = Callable[[Split], None]  # is told what a page shows
Landed = Callable[[bool], None]  # is told whether a page was answered, before anybody who waits for it goes on


class Pages(Protocol):
    """Pages asked for ahead."""

    def flat(self, directory: int, start_after: bytes, shown: Shown, landed: Landed) -> None:
        """One with all that is below a directory, from a key on."""
        ...

    def names(self, directory: int, start_after: bytes, shown: Shown, landed: Landed) -> None:
        """One with the names in a directory, from a key on."""
        ...

    def below(self, directory: int, most: int, landed: Landed, *, renewed: bool) -> int:
        """Pages of those of its known directories that were not listed yet; their number. `renewed`: more of them are known."""
        ...


class _State:
    """What is known of one directory: pages that misses cost, pages that filling cost, and where it goes on."""

    def __init__(self, branches: bool) -> None:
        self.branches = branches
        self.misses = 0
        self.pages = 0
        self.flying = 0
        self.cursor: bytes | None = b""  # a whole key; None at the end
        self.reading = False  # the page behind the cursor is under way
        self.renewed = False  # it has shown names since the directories were looked at

    @property
    def room(self) -> int:
        """Pages that may be asked for now."""
        return min(AT_ONCE - self.flying, MOST - self.pages, self.misses * PAGES_PER_MISS - self.pages)


class Filler:
    """Owned by the refresher. What follows a page is asked for the moment it has landed: its waiters find it under way."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._states: LRUCache[int, _State] = LRUCache(1024)

    def missed(self, directory: int, *, branches: bool) -> None:
        """Counts a lookup that costs a page; `branches`: the directory has directories in it."""
        state = self._states.get(directory)
        if state is None or state.branches != branches:
            state = self._states[directory] = _State(branches)
        state.misses += 1
        if state.misses >= (FIRST_BELOW if branches else FIRST):
            self._go_on(directory, state)

    def _go_on(self, directory: int, state: _State) -> None:
        """Asks for as much as the budget has room for."""
        # First of all its names: those that are known already may have become old.
        if state.branches and state.cursor != b"" and state.room > 0:
            landed = partial(self._landed, directory, state)
            begun = self._pages.below(directory, state.room, landed, renewed=state.renewed)
            state.renewed = False
            state.pages += begun
            state.flying += begun
        if state.cursor is not None and state.room > 0 and not state.reading:
            self._read_on(directory, state, state.cursor)
        if state.cursor is None and not state.flying and state.room > 0:
            self._states.pop(directory, None)  # all is listed; when it has become old, misses count anew

    def _read_on(self, directory: int, state: _State, cursor: bytes) -> None:
        def shown(split: Split) -> None:
            state.cursor = split.last
            state.renewed = True

        def landed(answered: bool) -> None:
            state.reading = False
            self._landed(directory, state, answered)

        state.pages += 1
        state.flying += 1
        state.reading = True
        (self._pages.names if state.branches else self._pages.flat)(directory, cursor, shown, landed)

    def _landed(self, directory: int, state: _State, answered: bool) -> None:
        state.flying -= 1
        if not answered:
            state.misses = 0  # whoever needs a name asks for it, and is told
        elif self._states.get(directory) is state:
            self._go_on(directory, state)
