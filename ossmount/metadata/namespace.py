"""The namespace: what the filesystem asks, answered from memory while it is fresh, else by as few LISTs as possible."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import trio

from ossmount.config import MetadataConfig
from ossmount.errors import NameTooLong, NotFound, StaleNode, Unavailable
from ossmount.metadata import keys
from ossmount.metadata.interface import ROOT, Named
from ossmount.metadata.keys import Target
from ossmount.metadata.records import Child
from ossmount.metadata.refresher import Refresher, together
from ossmount.metadata.store import Store
from ossmount.metadata.transaction import Change
from ossmount.metadata.tree import Tree
from ossmount.model import Absent, Found, Kind, Node, Soon
from ossmount.oss.interface import ObjectLister

BATCH = 2000  # names in one answer to list()
_ATTEMPTS = 4
_NEVER = -math.inf


class _Known(NamedTuple):
    """The names of a directory are known without a gap below `high` and below `blocked`."""

    high: bytes | None  # a position; None: to the end
    blocked: bytes | None  # the first name whose directory would stand at or behind high
    time: float  # of the oldest listing in it


Rows = list[Named]
Strings = list[bytes]
OnChange = Callable[[int, Sequence[tuple[int, bytes]]], None]


class TreeNamespace:
    """Implements metadata.interface.Namespace. Usable while run() runs."""

    def __init__(
        self,
        lister: ObjectLister,
        config: MetadataConfig,
        *,
        identity: str,
        prefix: bytes,
        on_change: OnChange,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`prefix` is b"" or ends in "/"; `now` gives seconds since the epoch and is asked once, when run() starts."""
        self._lister = lister
        self._config = config
        self._identity = identity
        self._prefix = prefix
        self._on_change = on_change
        self._now = now
        self._epoch = 0.0  # what to add to trio's clock
        self._file_ttl = min(config.entry_ttl, config.attr_ttl)  # a Found carries attributes and entry alike
        self._gone: set[int] = set()  # versions that turned out to be gone and that the store still calls current
        self._running = False
        self._store: Store
        self._tree: Tree
        self._refresher: Refresher

    async def run(self, started: Callable[[], None]) -> None:
        """Opens the store, calls started, and owns the writer and all requests until it is cancelled."""
        self._epoch = self._now() - trio.current_time()
        identity = f"{self._identity}\n{self._prefix.hex()}"
        slack = min(1.0, self._config.entry_ttl / 10)
        self._store = Store(self._config.directory, identity, now=self._clock, slack=slack)
        try:
            entries = max(16, self._config.ram_entries)
            self._tree = Tree(self._store, self._prefix, symlinks=self._config.symlinks, entries=entries)
            self._refresher = Refresher(self._lister, self._tree, self._store, self._clock, self._take_news)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._store.run)
                self._running = True
                await self._refresher.run(started)
        finally:
            self._running = False
            self._store.close()

    # -- the interface

    def lookup(self, parent: int, name: bytes) -> Soon[Found | Absent]:
        self._tree.check_directory(parent)
        if len(name) > keys.NAME_MAX:
            raise NameTooLong(f"a name of {len(name)} bytes; {keys.NAME_MAX} are the most")
        target = keys.target_of(name)
        if target is None:
            return Absent(math.inf)
        answer = self._answer(parent, target, math.inf)
        return self._lookup_slowly(parent, target) if answer is None else answer

    def getattr(self, node: int) -> Soon[Found]:
        if node == ROOT:
            return self._tree_root()
        answer = self._attributes(node, math.inf)
        return self._getattr_slowly(node, share=self._config.attr_ttl > 0) if answer is None else answer

    async def revalidate(self, node: int) -> Found:
        # Not shared: a request that is under way may have been answered before the caller asked.
        return self._tree_root() if node == ROOT else await self._getattr_slowly(node, share=False)

    def resolve(self, node: int) -> Node:
        return self._tree.resolve(node)

    def list(self, node: int, after: bytes) -> Soon[Sequence[Named]]:
        self._tree.check_directory(node)
        rows = self._names(node, after, math.inf, [])
        return self._list_slowly(node, after) if rows is None else rows

    def name_of(self, node: int) -> bytes:
        return self._tree.shown_name(node)

    async def readlink(self, node: int) -> bytes:
        link = self.resolve(node).key
        path = keys.link_path(link, await self._lister.symlink_target(link), self._prefix)
        if path is None:
            raise NotFound(f"the target of the symlink {link!r} has no path below the mount")
        return path

    def version_gone(self, node: int) -> None:
        found = self._tree.current(node)
        if found is None or found[0].directory:
            return
        self._gone.add(node)
        location = found[0]
        self._refresher.forget_version(location.parent, location.name, node, lambda: self._gone.discard(node))

    def facts(self) -> dict[str, object]:
        if not self._running:
            return {}
        refresher = self._refresher
        return {
            "store": self._store.facts(),
            "lists": refresher.lists,
            "heads": refresher.heads,
            "hidden_keys": refresher.hidden_count,
            "hidden_examples": sorted(refresher.hidden)[:10],
        }

    def _tree_root(self) -> Found:
        return Found(self._tree.root(), math.inf)

    # -- answers from memory: None when OSS must be asked

    def _clock(self) -> float:
        return trio.current_time() + self._epoch

    def _left(self, seen: float, ttl: float) -> float:
        """Seconds for which what was seen then may be believed; at most the TTL, whatever clocks did."""
        if ttl == math.inf:
            return math.inf
        age = self._clock() - seen
        return ttl - age if 0 <= age < ttl else 0.0

    def _fresh(self, seen: float, ttl: float, since: float) -> bool:
        return seen > _NEVER and (since <= seen <= self._clock() or self._left(seen, ttl) > 0)

    def _seen(self, parent: int, name: bytes, child: Child | None, *, directory: bool) -> float:
        """When one side of a name was last asked for; minus infinity when it is unknown."""
        seen = self._tree.coverage(parent).at(name + b"/" if directory else name)
        if child is not None and child.validated > seen:
            seen = child.validated
        if directory:
            return seen
        headed = self._refresher.headed(parent, name)
        if child is None:
            return max(seen, headed)
        if child.id in self._gone:
            return _NEVER
        if self._tree.is_target(child):  # listings do not show what becomes of it
            return max(child.validated, headed) if child.link_etag else _NEVER
        return max(seen, headed)

    def _answer(self, parent: int, target: Target, since: float) -> Found | Absent | None:
        """What the store says of a name; None unless it is fresh or was asked for at `since` or later."""
        name = target.stored
        directory, file = self._tree.children(parent, name)
        absent = math.inf  # seconds for which its absence may be believed
        ttl = self._config.negative_ttl if file is None else self._file_ttl
        if target.directory or target.shadowed:
            seen = self._seen(parent, name, directory, directory=True)
            if not self._fresh(seen, self._config.entry_ttl if directory else ttl, since):
                return None
            if target.directory and directory is not None:
                node = self._tree.node(parent, name, directory, directory=True)
                return Found(node, self._left(seen, self._config.entry_ttl))
            if (directory is None) == target.shadowed:
                return self._absent(seen)
            absent = self._left(seen, self._config.entry_ttl if directory else ttl)
        if not target.file:
            return Absent(min(absent, self._config.negative_ttl))
        seen = self._seen(parent, name, file, directory=False)
        if not self._fresh(seen, ttl, since):
            return None
        left = min(absent, self._left(seen, ttl))
        return Absent(left) if file is None else Found(self._tree.node(parent, name, file, directory=False), left)

    def _absent(self, seen: float) -> Absent:
        return Absent(self._left(seen, self._config.negative_ttl))

    def _attributes(self, node: int, since: float) -> Found | None:
        found = self._tree.current(node)
        if found is None or node in self._gone:
            raise StaleNode(f"node {node} is gone or was replaced")
        location, child = found
        seen = self._seen(location.parent, location.name, child, directory=location.directory)
        if not self._fresh(seen, self._config.attr_ttl, since):
            return None
        answer = self._tree.node(location.parent, location.name, child, directory=location.directory)
        return Found(answer, self._left(seen, self._config.attr_ttl))

    def _cursor(self, after: bytes) -> Target:
        if not after:
            return Target(b"", directory=False, file=False, shadowed=False)
        return keys.target_of(after) or Target(after, directory=False, file=True, shadowed=False)

    def _known(self, node: int, cursor: Target, since: float) -> _Known | None:
        """How far the names behind the cursor are known without a gap; None when nothing is known there."""
        oldest = min(self._clock() - self._config.entry_ttl, math.nextafter(since, _NEVER))
        coverage = self._tree.coverage(node)
        reach = coverage.reach(cursor.stored and cursor.stored + b"\0", oldest)
        if reach is None:
            return None
        for name in keys.blocked_names(reach.high) if reach.high is not None else ():
            if name > cursor.stored and coverage.at(name + b"/") <= oldest:
                return _Known(reach.high, name, reach.time)
        return _Known(reach.high, None, reach.time)

    def _names(self, node: int, after: bytes, since: float, links: Strings) -> Sequence[Named] | None:
        """The names behind one, as far as they are known; None when OSS must be asked for the next one.

        Then `links` holds the names whose targets must be asked for first.
        """
        cursor = self._cursor(after)
        known = self._known(node, cursor, since)
        if known is None:
            return None
        self._refresher.read_ahead(node, known.high, self._clock() - self._config.entry_ttl)
        rows = self._rows(node, cursor, known.blocked or known.high, known.time, since, links)
        return rows if not links and (rows or known.high is None) else None

    def _rows(self, node: int, cursor: Target, bound: bytes | None, seen: float, since: float, links: Strings) -> Rows:
        entry_left, file_left = self._left(seen, self._config.entry_ttl), self._left(seen, self._file_ttl)
        rows: Rows = []
        beside: bytes | None = None  # the directory just met
        make, prefix = self._tree.maker(node)
        with self._store.scan(node, cursor.stored) as children:
            for name, directory, child in children:
                if bound is not None and name >= bound:
                    break
                if directory:
                    beside = name
                if name == cursor.stored and (directory or not cursor.directory or (cursor.file and beside != name)):
                    continue  # but the object that the directory at the cursor shadows comes now
                kind = Kind.DIRECTORY if directory else Kind.FILE
                shown = keys.shown_name(name, kind, shadowed=beside == name)
                if shown is None:
                    self._refresher.note_hidden([prefix + name])
                    continue
                left = entry_left if directory else file_left
                if not directory and self._tree.is_target(child):
                    asked = self._seen(node, name, child, directory=False)
                    left = min(left, self._left(asked, self._file_ttl))
                    if not self._fresh(asked, self._file_ttl, since):
                        links.append(name)
                rows.append(Named(shown, Found(make(name, child, directory), left)))
                if len(rows) >= BATCH:
                    break
        return rows

    # -- answers from OSS

    async def _lookup_slowly(self, parent: int, target: Target) -> Found | Absent:
        since = self._clock()
        share = min(self._file_ttl, self._config.negative_ttl) > 0
        for _ in range(_ATTEMPTS):
            if share:
                await self._refresher.name(parent, target.stored, share=True)
                answer = self._answer(parent, target, since)
                if answer is None and (target.directory or target.shadowed):  # "name/" may lie behind the page's end
                    await self._refresher.probe(parent, target.stored, share=True)
                await self._see_target(parent, target.stored, since)
            else:
                await self._refresher.exactly(parent, target)
            answer = self._answer(parent, target, since)
            if answer is not None:
                return answer
            share = False
        raise Unavailable(f"{target.stored!r} changes faster than it can be listed")

    async def _getattr_slowly(self, node: int, *, share: bool) -> Found:
        since = self._clock()
        for _ in range(_ATTEMPTS):
            parent, directory, name, _last = self._tree.location(node)
            if share:
                await self._refresher.name(parent, name, share=True)
                if directory and self._attributes(node, since) is None:
                    await self._refresher.probe(parent, name, share=True)
                await self._see_target(parent, name, since)
            else:
                await self._refresher.exactly(parent, Target(name, directory, not directory, False))
            answer = self._attributes(node, since)
            if answer is not None:
                return answer
            share = False
        raise Unavailable(f"node {node} changes faster than it can be listed")

    async def _see_target(self, parent: int, name: bytes, since: float) -> None:
        """Asks what a link points to that is not shown as a link."""
        child = self._tree.children(parent, name).file
        if child is not None and self._tree.is_target(child):
            seen = self._seen(parent, name, child, directory=False)
            if not self._fresh(seen, self._file_ttl, since):
                await self._refresher.head(parent, name)

    async def _list_slowly(self, node: int, after: bytes) -> Sequence[Named]:
        since = self._clock()
        share = self._config.entry_ttl > 0
        cursor = self._cursor(after)
        known = self._known(node, cursor, math.inf)
        rows: Sequence[Named] | None = None
        attempts = 0
        stuck = False
        while rows is None:
            if known is not None:
                self._refresher.read_ahead(node, known.high, self._clock() - self._config.entry_ttl)
            if known is None and not after:
                await self._refresher.beginning(node, share=share)
            elif known is None:
                await self._refresher.behind(node, cursor.stored + b"\0", share=share)
            else:
                asks = [partial(self._refresher.behind, node, known.high or b"", share=share)]
                if stuck and known.blocked is not None:
                    asks.append(partial(self._refresher.probe, node, known.blocked, share=share))
                await together(asks)
            self._tree.check_directory(node)
            links: Strings = []
            rows = self._names(node, after, since, links)
            if links:
                await self._refresher.head_all(node, links)
                rows = self._names(node, after, since, [])
            before, known = known, self._known(node, cursor, since)
            stuck = True
            attempts = attempts + 1 if known == before else 0
            if attempts == _ATTEMPTS:
                raise Unavailable(f"the listing of directory {node} does not get beyond {known}")
        return rows

    # -- news

    def _take_news(self, changes: Sequence[Change]) -> None:
        """Tells the kernel what is no longer true; says nothing of what is merely new."""
        for change in changes:
            for number, parent, name, directory in change.gone:
                self._on_change(number, [(parent, shown) for shown in self._shown_names(parent, name, directory)])
            if change.told:
                fresh = [
                    (change.directory, shown) for name in change.names for shown in self._shown_names(change.directory, name)
                ]
                self._on_change(change.directory, fresh)

    def _shown_names(self, parent: int, name: bytes, directory: bool | None = None) -> Sequence[bytes]:
        """All names under which the kernel may know a stored name."""
        shown = [
            keys.shown_name(name, Kind.DIRECTORY),
            keys.shown_name(name, Kind.FILE),
            keys.shown_name(name, Kind.FILE, shadowed=True),
        ]
        return [n for n in dict.fromkeys(shown[:1] if directory else shown) if n is not None]
