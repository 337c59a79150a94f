"""Asks OSS, and makes the store say what it answered.

Requests are shared by all who wait for the same answer; they run in the nursery of run(), so that a waiter who is cancelled
does not fail the others. A flat LIST (no delimiter) always goes over the whole mounted prefix from some key on: it tells of
the directory at hand and of what follows it, which is what a walk asks for next. A LIST with a delimiter is asked of large
directories only.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio
from cachetools import LRUCache

from ossmount.errors import Damaged, NotFound, OssMountError, Unavailable
from ossmount.metadata import keys
from ossmount.metadata.filler import Shown
from ossmount.metadata.flights import Flight, together
from ossmount.metadata.keys import Target
from ossmount.metadata.pages import Split, Stretch, split_page
from ossmount.metadata.pages_ahead import Ask, PagesAhead
from ossmount.metadata.records import child_of
from ossmount.metadata.store import ROOT, Store
from ossmount.metadata.transaction import Change, Transaction
from ossmount.metadata.tree import Tree
from ossmount.oss.interface import ObjectLister

log = logging.getLogger(__name__)

PAGE = 1000  # keys, the most that OSS gives
HEADS = 16  # HEADs under way for one listing
_HIDDEN_KEPT = 1000


class Refresher:
    """The only one here that asks OSS."""

    def __init__(
        self,
        lister: ObjectLister,
        tree: Tree,
        store: Store,
        clock: Callable[[], float],
        changed: Callable[[Sequence[Change]], Awaitable[None]],
    ) -> None:
        self._lister = lister
        self._tree = tree
        self._store = store
        self._clock = clock
        self._changed = changed
        self._flights: dict[object, Flight] = {}
        self._nursery: trio.Nursery | None = None
        self._large: LRUCache[int, bool] = LRUCache(4096)  # directories whose flat listing one child swallows
        self._branching: LRUCache[int, bool] = LRUCache(4096)  # directories that have shown directories in them
        self._ahead = PagesAhead(tree, self)
        self._headed: LRUCache[tuple[int, bytes], tuple[float, bool]] = LRUCache(4096)  # when, and whether it exists
        self.requests: Counter[tuple[str, str]] = Counter()  # by kind and by what they were for
        self.hidden_count = 0
        self.hidden: set[bytes] = set()  # the first of them

    def count(self, kind: str) -> int:
        """Requests made: "list" or "head"."""
        return sum(self.purposes(kind).values())

    def purposes(self, kind: str) -> dict[str, int]:
        """The same by what they were for."""
        return {what: number for (one, what), number in self.requests.items() if one == kind}

    async def run(self, started: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def name(self, directory: int, stored: bytes, newer_than: float) -> None:
        """Makes an object's name known, most often also the directory of that name, and the siblings behind it.

        What was asked for before `newer_than` counts as unknown.
        """
        start = keys.start_before(self._tree.prefix(directory) + stored)
        where, delimiter = (directory, b"/") if directory in self._large else (ROOT, b"")
        if ("page", where, start, delimiter) not in self._flights:
            self._ahead.missed(directory, newer_than)
        ahead = self._ahead
        while flight := ahead.under_way(ROOT, start, b"") or ahead.under_way(directory, start, b"/"):
            await flight.done.wait()
            if self._tree.coverage(directory).at(stored) > newer_than:
                return
        await self.page(where, start, delimiter, wanted=directory, share=True, what="lookup")

    async def beginning(self, directory: int, *, share: bool) -> None:
        """Makes the beginning of a directory known, and what follows it if it is small."""
        if share:
            self._ahead.listed(directory)
        await self.page(ROOT, self._ahead.start_of(directory), b"", share=share, wanted=directory)

    async def behind(self, directory: int, position: bytes, *, share: bool) -> None:
        """Makes the positions from one on known (see keys.position_of; one behind p is p + NUL)."""
        key = self._tree.prefix(directory) + position
        if not key.endswith(b"\0"):
            start = keys.start_before(key)
        elif position.endswith(b"/\0"):
            start = keys.start_behind(key[:-1])
        else:
            start = key[:-1]
            if not self._ahead.is_stream(directory) and directory not in self._branching:
                # The rest may be short, and what follows it is what a walk asks for next.
                await self.page(ROOT, start, b"", share=share, wanted=directory)
                return
        await self.page(directory, start, b"/", share=share)

    async def exactly(self, directory: int, target: Target) -> None:
        """Asks for one name and nothing else, and only now: for those who believe nothing that was asked before."""
        asks: list[Ask] = []
        if target.file:
            asks.append(partial(self.head, directory, target.stored))
        if target.directory or target.shadowed:
            asks.append(partial(self.probe, directory, target.stored, share=False))
        await together(asks)

    def headed(self, directory: int, stored: bytes, *, exists: bool) -> float:
        """When HEAD said last that the object exists, or that it does not; minus infinity if it said the other, or never."""
        asked, found = self._headed.get((directory, stored), (-math.inf, exists)) if self._headed else (-math.inf, exists)
        return asked if found is exists else -math.inf

    def forget_version(self, directory: int, stored: bytes, node: int, done: Callable[[], object]) -> None:
        """Retires the version in the store, soon; then calls done."""

        async def forget() -> None:
            forget = partial(Transaction.forget_version, parent=directory, name=stored, number=node)
            try:
                await self._take(await self._store.write(forget))
                # A HEAD that was under way may have seen the old version meanwhile: it says nothing of the name any more.
                self._headed.pop((directory, stored), None)
                done()
            except OssMountError as failure:  # it stays gone for this process
                log.warning("version %d of %r could not be retired: %s", node, stored, failure)

        self._headed.pop((directory, stored), None)
        if self._nursery is not None:
            self._nursery.start_soon(forget)

    def read_ahead(self, directory: int, high: bytes | None, newer_than: float) -> None:
        """Somebody lists the directory and it is known up to the position high: asks for pages that come soon."""
        if newer_than < self._clock():  # with a TTL of 0 nothing that comes early is of use
            self._ahead.read_on(directory, high, newer_than)

    async def page(
        self,
        directory: int,
        start_after: bytes,
        delimiter: bytes,
        *,
        share: bool,
        wanted: int = 0,
        what: str = "listing",
    ) -> None:
        """One LIST below a directory from start_after (a whole key) on, for the sake of the directory `wanted`.

        `what` names in the counters what it was for.
        """
        if share:
            flight = self._ahead.under_way(directory, start_after, delimiter)
            if flight is not None:
                await flight.done.wait()
                return  # whoever asked looks again whether it is enough
        ask = self.asking(directory, start_after, delimiter, what, wanted)
        await self._fly(("page", directory, start_after, delimiter), ask, share=share)

    # -- pages_ahead.Requests

    def asking(
        self, directory: int, start_after: bytes, delimiter: bytes, what: str, wanted: int = 0, shown: Shown | None = None
    ) -> Ask:
        """One LIST; `shown` is told what the page shows, once it is in the store."""

        async def ask() -> None:
            asked = self._clock()
            prefix = self._tree.prefix(directory)
            self.requests["list", what] += 1
            answer = await self._lister.list_page(prefix, delimiter=delimiter, start_after=start_after, max_keys=PAGE)
            try:
                split = split_page(prefix, delimiter, start_after, answer)
            except ValueError as failure:
                raise Damaged(str(failure)) from failure
            self.note_hidden(split.hidden)
            self._learn(split, wanted or directory, delimiter)
            await self._merge(directory, split, asked)
            if shown is not None:
                shown(split)

        return ask

    def begin(self, flight: Flight, ask: Ask, ended: Callable[[], None]) -> bool:
        if self._nursery is not None:
            self._nursery.start_soon(self._run_flight, flight, flight, ask, ended)
        return self._nursery is not None

    def start(self, task: Ask) -> bool:
        """Runs what nobody waits for; False when the mount is being stopped."""
        if self._nursery is not None:
            self._nursery.start_soon(task)
        return self._nursery is not None

    def _learn(self, split: Split, directory: int, delimiter: bytes) -> None:
        """Notes what a page tells of the directory that it was asked for."""
        if not delimiter:
            self._ahead.learn(split)
        prefix = self._tree.prefix(directory)
        stretch = next((s for s in split.stretches if s.prefix == prefix), None)
        if stretch is None:
            return
        if stretch.directories:
            self._branching[directory] = True
        if split.last is None or not split.last.startswith(prefix):
            return  # it ends here
        if len(stretch.files) + len(stretch.directories) <= 1:
            self._large[directory] = True
        if len(stretch.files) >= PAGE // 2:
            self._ahead.learn_names(directory, [name for name, _ in stretch.files])

    async def probe(self, directory: int, stored: bytes, *, share: bool) -> None:
        """Decides by one key whether a directory exists: for names whose page ended before "name/"."""

        async def ask() -> None:
            asked = self._clock()
            prefix = self._tree.prefix(directory)
            self.requests["list", "directory_exists"] += 1
            answer = await self._lister.list_page(prefix + stored + b"/", max_keys=1)
            position = stored + b"/"
            exists = bool(answer.objects)
            stretch = Stretch(prefix, position, position + b"\0", [], [stored] if exists else [])
            await self._merge(directory, Split([stretch], [], None), asked)

        await self._fly(("probe", directory, stored), ask, share=share)

    async def head(self, directory: int, stored: bytes) -> None:
        """One HEAD of an object, never shared: it is for those who want to know it now."""
        asked = self._clock()
        self.requests["head", "revalidation"] += 1
        try:
            info = await self._lister.head(self._tree.prefix(directory) + stored)
        except NotFound:
            info = None
        known = self._tree.children(directory, stored).file
        if info is not None and info.object_type == "Symlink":
            # HEAD describes what a link points to; the link's own ETag stands in listings only.
            if self._tree.symlinks or known is None or known.object_type != "Symlink":
                start = keys.start_before(self._tree.prefix(directory) + stored)
                await self.page(ROOT, start, b"", share=False, what="revalidation")
                known = self._tree.children(directory, stored).file
            if self._tree.symlinks or known is None:
                return
        if (
            known is None
            or info is None
            or known != child_of(known.id, info, known.validated)._replace(link_etag=known.link_etag)
        ):
            await self._take(
                await self._store.write(lambda transaction: transaction.merge_head(directory, stored, info, asked))
            )
        # Unless the version was retired meanwhile, or somebody who asked later was answered earlier: then the answer says
        # nothing of the name any more.
        latest, _ = self._headed.get((directory, stored), (-math.inf, False))
        if latest <= asked and (self._tree.children(directory, stored).file is None) == (info is None):
            self._headed[directory, stored] = (asked, info is not None)

    async def head_all(self, directory: int, names: Sequence[bytes]) -> None:
        """HEADs of some names, a few at a time."""
        for first in range(0, len(names), HEADS):
            await together([partial(self.head, directory, name) for name in names[first : first + HEADS]])

    def forget_headed(self) -> None:
        self._headed.clear()

    async def flat_split(self, directory: int, start_after: bytes, what: str) -> Split:
        """A flat page of all below a directory from a key on."""
        splits: list[Split] = []
        start = start_after or self._ahead.start_of(directory)
        await self._fly("fill", self.asking(directory, start, b"", what, shown=splits.append), share=False)
        return splits[0]

    async def _merge(self, directory: int, split: Split, asked: float) -> None:
        await self._take(await self._store.write(lambda transaction: transaction.merge(directory, split, asked)))

    async def _take(self, changes: list[Change]) -> None:
        self._tree.apply(changes)
        await self._changed(changes)

    def note_hidden(self, hidden: Sequence[bytes]) -> None:
        for key in hidden:
            if key not in self.hidden:
                self.hidden_count += 1
                if len(self.hidden) < _HIDDEN_KEPT:
                    self.hidden.add(key)

    async def _fly(self, name: object, ask: Ask, *, share: bool) -> None:
        flight = self._flights.get(name) if share else None
        if flight is None:
            if self._nursery is None:
                raise Unavailable("the mount is being stopped")
            flight = Flight()
            if share:
                self._flights[name] = flight
            self._nursery.start_soon(self._run_flight, name, flight, ask)
        await flight.done.wait()
        if flight.failure is not None:
            raise flight.failure

    async def _run_flight(
        self,
        name: object,
        flight: Flight,
        ask: Ask,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        try:
            await ask()
            flight.failure = None
        except OssMountError as failure:
            flight.failure = failure
        except Exception as failure:  # a defect: whoever waits gets EIO, the mount goes on, and it is said
            log.exception("a metadata request failed")
            flight.failure = Unavailable(f"metadata request failed: {failure!r}")
        finally:
            if self._flights.get(name) is flight:
                del self._flights[name]
            ended()
            flight.done.set()
