"""Which pages to list ahead while somebody walks a tree.

Who lists a directory and then the directories in it, in whatever order, will list the others too. Each flat page shows as
many of them as it happens to hold; from the last one cut by a page's end it is known how many that are, so pages can be
asked for at every so many directories, several at once. A wrong guess costs a request, never a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cachetools import LRUCache

from ossmount.metadata.pages import Split
from ossmount.metadata.store import ROOT
from ossmount.metadata.tree import Tree

MOST = 16  # pages under way for one parent; as many requests as the lister makes at once
FIRST = 2  # pages asked for at the first directory; doubled at each further one
PAGES_PER_USE = 4  # pages ahead for each directory that was listed, so that a few `ls` never list a whole bucket
_LARGEST = 20_000  # directories of one parent whose order is kept: read once, in about 100 ms; larger ones have no pages ahead


class Chunk(NamedTuple):
    """A page to ask for: flat, from the directory `first` on, expected to reach into `last` (both ids)."""

    first: int
    last: int


class _State:
    """One parent: its directories in the order of their keys, and what was asked for."""

    def __init__(self, children: list[int]) -> None:
        self.children = children
        self.index = {number: at for at, number in enumerate(children)}
        self.planned: set[int] = set()  # ids in pages under way
        self.flying = 0
        self.window = FIRST
        self.asked = 0
        self.used: set[int] = set()
        self.last = -1  # the index listed last
        self.seen = 0  # the index that unlisted() comes to next
        self.quiet = 0  # listings for which nothing is planned: all was known four times as far ahead


class Walks:
    """What is known of walks under way. Owned by the refresher."""

    def __init__(self, tree: Tree, known: Callable[[int], bool]) -> None:
        """`known`: whether the beginning of a directory is known and still to be believed."""
        self._tree = tree
        self._known = known
        self._listed: LRUCache[int, bool] = LRUCache(4096)  # directories that somebody listed
        self._uses: LRUCache[int, int] = LRUCache(4096)  # by parent: how many of its directories were listed
        self._states: LRUCache[int, _State] = LRUCache(32)
        self._per_page: LRUCache[bytes, int] = LRUCache(4096)  # by prefix: how many directories in it one page shows

    def learn(self, split: Split) -> None:
        """Notes how many whole directories a page shows that is cut off."""
        if split.last is None or len(split.stretches) < 2:
            return
        counts: dict[bytes, int] = {}
        for stretch in split.stretches[1:]:
            parent = stretch.prefix[: stretch.prefix.rfind(b"/", 0, -1) + 1]
            counts[parent] = counts.get(parent, 0) + (stretch.high is None and not stretch.low)
        self._per_page.update(counts)

    def branches(self, directory: int) -> bool:
        """Whether a page that was cut off has shown directories in it, so that it takes several pages to list them."""
        return self._tree.prefix(directory) in self._per_page

    def unlisted(self, parent: int, most: int, *, renewed: bool) -> Iterator[Chunk]:
        """Pages to ask for now, of the directories of one parent that were not listed yet, each of them once.

        `renewed`: there may be directories that were not known at the last call. They are read anew then, which takes 5 us for
        each name in the parent.
        """
        state = self._states.get(parent)
        if state is None or renewed:
            state = self._renewed(parent)
            state.seen = 0
        step = self._step(parent)
        while state.seen < len(state.children) and most > 0:
            at = state.seen
            if state.children[at] in state.planned or self._known(state.children[at]):
                state.seen += 1
                continue
            state.seen = min(at + step, len(state.children))
            state.planned.update(state.children[at : state.seen])
            state.flying += 1
            most -= 1
            yield Chunk(state.children[at], state.children[state.seen - 1])

    def listed(self, directory: int, *, missed: bool) -> Iterator[tuple[int, Chunk]]:
        """Somebody lists the directory; its beginning is unknown when `missed`. Parents and the pages to ask for now."""
        if directory == ROOT:
            self._listed[directory] = True
            return
        new = directory not in self._listed
        if not new and not missed:
            return
        self._listed[directory] = True
        parent = self._tree.location(directory).parent
        if parent not in self._listed:
            return
        self._uses[parent] = self._uses.get(parent, 0) + new
        if missed or self._uses[parent] > 1:
            for chunk in self._plan(parent, directory, missed=missed):
                yield parent, chunk

    def ended(self, parent: int, chunk: Chunk) -> None:
        """A page that was planned was answered, or failed."""
        state = self._states.get(parent)
        if state is None or chunk.first not in state.index:
            return
        state.flying = max(0, state.flying - 1)
        state.planned.difference_update(state.children[state.index[chunk.first] : state.index.get(chunk.last, 0) + 1])

    def _step(self, parent: int) -> int:
        """Directories that one page shows."""
        return max(1, self._per_page.get(self._tree.prefix(parent), 1))

    def _renewed(self, parent: int) -> _State:
        """The state of a parent, with the directories that are known now."""
        children = self._tree.directories_in_order(parent, _LARGEST)
        state = self._states.get(parent)
        if state is None or state.children != children:
            former, state = state, _State(children)
            self._states[parent] = state
            if former is not None:
                state.planned, state.flying = former.planned, former.flying
        return state

    def _state(self, parent: int, directory: int) -> _State | None:
        state = self._states.get(parent)
        if state is None or (directory not in state.index and state.children):
            state = self._renewed(parent)
        return state if directory in state.index else None

    def _plan(self, parent: int, directory: int, *, missed: bool) -> Iterator[Chunk]:
        state = self._state(parent, directory)
        if state is None:
            return
        at = state.index[directory]
        backwards = at < state.last or (state.last < 0 and at == len(state.children) - 1)
        state.last = at
        state.used.add(at)
        state.quiet = 0 if missed else state.quiet - 1
        if state.flying >= state.window or state.quiet > 0:
            return
        step = self._step(parent)
        nothing = True
        for first in self._starts(state, at, -step if backwards else step):
            if state.flying >= state.window or state.asked >= FIRST + PAGES_PER_USE * len(state.used):
                nothing = False
                break
            end = min(first + step, len(state.children))
            missing = [n for n in state.children[first:end] if n not in state.planned and not self._known(n)]
            if not missing:
                continue
            nothing = False
            state.planned.update(state.children[state.index[missing[0]] : end])
            state.flying += 1
            state.asked += 1
            yield Chunk(missing[0], state.children[end - 1])
        state.window = min(MOST, state.window * 2)
        state.quiet = step * MOST // 2 if nothing else 0

    @staticmethod
    def _starts(state: _State, at: int, step: int) -> Iterator[int]:
        """Where pages ahead may begin: behind the one at hand for a walk forwards, before it for one backwards."""
        far = abs(step) * MOST * 2  # indices that are looked at for one plan
        if step > 0:
            yield from range(at + step, min(len(state.children), at + far), step)
        else:
            for end in range(at, max(0, at - far), step):
                yield max(0, end + step)
