"""The namespace: what the filesystem asks, answered from memory while it is fresh, else by as few LISTs as possible."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from ossmount.config import MetadataConfig
from ossmount.errors import NameTooLong, NotFound, Unavailable
from ossmount.metadata import keys, records
from ossmount.metadata.answers import Answers
from ossmount.metadata.builder import Builder, Progress
from ossmount.metadata.flights import together
from ossmount.metadata.interface import ROOT, Listed, Named
from ossmount.metadata.keys import Target
from ossmount.metadata.loader import Loader, Source
from ossmount.metadata.pruner import Known, Pruner
from ossmount.metadata.refresher import Refresher
from ossmount.metadata.stale import Stale
from ossmount.metadata.store import Store
from ossmount.metadata.transaction import Change, Transaction
from ossmount.metadata.tree import Tree
from ossmount.metadata.uses import Uses
from ossmount.model import Absent, Found, Kind, Node, Soon
from ossmount.oss.interface import ObjectLister

_ATTEMPTS = 4
_NAMES = 2_000  # of one directory that are refreshed, or told of, before somebody else gets a turn

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
        snapshot: Source | None = None,
        known: Known | None = None,
        caught_up: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`prefix` is b"" or ends in "/"; `snapshot` is taken over before run() calls started; `known` asks the kernel
        which nodes it may still name (None: nothing is pruned); `caught_up` waits until it was told what on_change was
        called with; `now` gives seconds since the epoch and is asked once, when run() starts.
        """
        self._lister = lister
        self._config = config
        self._identity = identity
        self._prefix = prefix
        self._on_change = on_change
        self._snapshot = snapshot
        self._ask_kernel = known
        self._caught_up = caught_up
        self._pruner: Pruner | None = None
        self._now = now
        self._epoch = 0.0  # what to add to trio's clock
        self._running = False
        self._builder: Builder | None = None
        self._uses = Uses()
        self._store: Store
        self._tree: Tree
        self._refresher: Refresher
        self._answers: Answers
        self._stale: Stale

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
            self._answers = Answers(self._tree, self._config, self._clock, self._refresher)
            self._stale = Stale(self._tree, self._config, self._clock, self._refresher, self._answers.gone)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._store.run)
                self._running = True
                if self._snapshot is not None:
                    await self.load(self._snapshot)
                if self._ask_kernel is not None:
                    self._pruner = Pruner(self._store, self._tree, self._ask_kernel, self._clock)
                    nursery.start_soon(self._pruner.run)
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
        answer: Found | Absent | None = self._answers.name(parent, target, math.inf)
        if answer is not None:
            self._uses.hits["lookup"] += 1
            return answer
        answer = self._stale.name(parent, target, lambda: self._lookup_slowly(parent, target))
        self._uses.miss("lookup", seen=self._answers.name_seen(parent, target), given=answer is not None)
        return self._lookup_slowly(parent, target) if answer is None else answer

    def getattr(self, node: int) -> Soon[Found]:
        if node == ROOT:
            return self._tree_root()
        answer = self._answers.node(node, math.inf)
        if answer is not None:
            self._uses.hits["getattr"] += 1
            return answer
        share = self._config.attr_ttl > 0
        answer = self._stale.node(node, lambda: self._getattr_slowly(node, share=share))
        self._uses.miss("getattr", seen=True, given=answer is not None)
        return self._getattr_slowly(node, share=share) if answer is None else answer

    async def revalidate(self, node: int) -> Found:
        # Not shared: a request that is under way may have been answered before the caller asked.
        return self._tree_root() if node == ROOT else await self._getattr_slowly(node, share=False)

    def resolve(self, node: int) -> Node:
        return self._tree.resolve(node)

    def file(self, key: bytes) -> Node | None:
        return self._tree.file(key)

    def list(self, node: int, after: bytes) -> Soon[Sequence[Named]]:
        self._tree.check_directory(node)
        rows = self._answers.names(node, after, math.inf, [])
        if rows is not None:
            self._uses.hits["list"] += 1
            return rows
        rows = self._stale.names(node, after, lambda: self._list_slowly(node, after))
        self._uses.miss("list", seen=self._answers.listing_seen(node, after), given=rows is not None)
        return self._list_slowly(node, after) if rows is None else rows

    def listed(self, node: int) -> Listed:
        return self._answers.listed(node)

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
        if found is None or found[0].directory or node in self._answers.gone:
            return
        self._answers.gone.add(node)
        location = found[0]
        # Now and not when the store has it: the reader is told ESTALE once the kernel has forgotten the names.
        self._on_change(node, [(location.parent, shown) for shown in self._shown_names(location.parent, location.name)])
        self._refresher.forget_version(location.parent, location.name, node, lambda: self._answers.gone.discard(node))

    async def refresh(self, path: bytes = b"") -> int:
        """Makes a path, and all below it, be asked again at its next use, also by the kernel, which knows it then; returns the
        number of names.

        What the store does not know of needs none of it: that is 0.
        """
        found = self._tree.find(path) if path.strip(b"/") else (ROOT, b"", True)
        if found is None:
            return 0
        self._refresher.forget_headed()
        parent, name, directory = found
        if name:
            self._tree.apply(await self._store.write(lambda transaction: transaction.forget_name(parent, name, directory)))
            self._on_change(parent, [(parent, shown) for shown in self._shown_names(parent, name, directory)])
        if not directory:
            await self._caught_up()
            return 1
        above = self._tree.children(parent, name).directory if name else None
        waiting = [above.id if above is not None else ROOT]
        count = told = 0
        while waiting:
            number = waiting.pop()
            rest: bytes | None = b""
            while rest is not None:
                forget = partial(Transaction.forget_directory, number=number, start=rest, most=_NAMES)
                changes, names, below, rest = await self._store.write(forget)
                self._tree.apply(changes)
                known = [(number, shown) for name, side in names for shown in self._shown_names(number, name, side)]
                self._on_change(number, known)
                waiting.extend(below)
                count += len(names)
                if count - told >= _NAMES:
                    told = count
                    await self._caught_up()
        await self._caught_up()
        return count

    # -- metadata.interface.KnownTree

    def parent_of(self, node: int) -> int:
        return ROOT if node == ROOT else self._tree.location(node).parent

    def known(self, directory: int, start: bytes, limit: int) -> tuple[Sequence[Node], bytes | None]:
        make = self._tree.maker(directory)
        nodes: list[Node] = []
        last = b""
        with self._store.scan(directory, start) as (_, children):
            for name, is_directory, record in children:
                if len(nodes) >= limit and name != last:
                    return nodes, name
                last = name
                child = records.unpack_child(record)
                unknown_target = not is_directory and self._tree.is_target(child) and not child.link_etag
                if child.id not in self._answers.gone and not unknown_target:
                    nodes.append(make(name, child, is_directory))
        return nodes, None

    def known_behind(self, node: int, limit: int) -> Sequence[Node]:
        location = self._tree.location(node)
        nodes, _ = self.known(location.parent, location.name, limit + 1)
        return [each for each in nodes if each.id != node][:limit]

    async def build(self) -> int:
        """Lists everything below the mounted prefix into the store, with many requests at once; returns their number."""
        self._builder = Builder(self._tree, self._refresher)
        await self._builder.run()
        return self._builder.progress().lists

    def progress(self) -> Progress:
        """How far the build is that was begun last."""
        return Progress(0, 0, 0.0) if self._builder is None else self._builder.progress()

    async def prune(self) -> None:
        """One pass of what is done now and then: retired versions that the kernel cannot name leave the store."""
        if self._pruner is not None:
            await self._pruner.once()

    async def load(self, source: Source) -> int:
        """Takes a snapshot over, unless this store has it already; returns the number of keys. Raises SnapshotError.

        What was listed after the snapshot was made stays as it is.
        """
        return await Loader(self._store, self._tree, self._prefix, self._take_news).run(source)

    def facts(self) -> dict[str, object]:
        if not self._running:
            return {}
        refresher = self._refresher
        return {
            "store": self._store.facts(),
            "pruned": 0 if self._pruner is None else self._pruner.pruned,
            "lists": refresher.count("list"),
            "heads": refresher.count("head"),
            "requests": {kind: refresher.purposes(kind) for kind in ("list", "head")},
            "cache": self._uses.facts(),
            "hidden_keys": refresher.hidden_count,
            "hidden_examples": sorted(refresher.hidden)[:10],
        }

    def _tree_root(self) -> Found:
        return Found(self._tree.root(), math.inf)

    # -- answers from memory: None when OSS must be asked

    def _clock(self) -> float:
        return trio.current_time() + self._epoch

    # -- answers from OSS

    async def _lookup_slowly(self, parent: int, target: Target) -> Found | Absent:
        since = self._clock()
        share = min(self._answers.file_ttl, self._config.negative_ttl) > 0
        for _ in range(_ATTEMPTS):
            if share:
                await self._refresher.name(parent, target.stored, self._clock() - self._config.entry_ttl)
                answer = self._answers.name(parent, target, since)
                if answer is None and (target.directory or target.shadowed):  # "name/" may lie behind the page's end
                    await self._refresher.probe(parent, target.stored, share=True)
                await self._see_target(parent, target.stored, since)
            else:
                await self._refresher.exactly(parent, target)
            answer = self._answers.name(parent, target, since)
            if answer is not None:
                return answer
            share = False
        raise Unavailable(f"{target.stored!r} changes faster than it can be listed")

    async def _getattr_slowly(self, node: int, *, share: bool) -> Found:
        since = self._clock()
        for _ in range(_ATTEMPTS):
            parent, directory, name, _last = self._tree.location(node)
            if share:
                await self._refresher.name(parent, name, self._clock() - self._config.entry_ttl)
                if directory and self._answers.node(node, since) is None:
                    await self._refresher.probe(parent, name, share=True)
                await self._see_target(parent, name, since)
            else:
                await self._refresher.exactly(parent, Target(name, directory, not directory, False))
            answer = self._answers.node(node, since)
            if answer is not None:
                return answer
            share = False
        raise Unavailable(f"node {node} changes faster than it can be listed")

    async def _see_target(self, parent: int, name: bytes, since: float) -> None:
        """Asks what a link points to that is not shown as a link."""
        child = self._tree.children(parent, name).file
        if child is not None and self._tree.is_target(child):
            seen = self._answers.seen(parent, name, child, directory=False)
            if not self._answers.fresh(seen, self._answers.file_ttl, since):
                await self._refresher.head(parent, name)

    async def _list_slowly(self, node: int, after: bytes) -> Sequence[Named]:
        since = self._clock()
        share = self._config.entry_ttl > 0
        cursor = self._answers.cursor(after)
        known = self._answers.known(node, cursor, math.inf)
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
            links: list[bytes] = []
            rows = self._answers.names(node, after, since, links)
            if links:
                await self._refresher.head_all(node, links)
                rows = self._answers.names(node, after, since, [])
            before, known = known, self._answers.known(node, cursor, since)
            stuck = True
            attempts = attempts + 1 if known == before else 0
            if attempts == _ATTEMPTS:
                raise Unavailable(f"the listing of directory {node} does not get beyond {known}")
        return rows

    # -- news

    async def _take_news(self, changes: Sequence[Change]) -> None:
        """Tells the kernel what is no longer true; says nothing of what is merely new.

        Does not wait until the kernel has taken it: a notification may wait for the very lookup that brought the news.
        """
        for change in changes:
            for index, (number, parent, name, directory) in enumerate(change.gone, 1):
                self._on_change(number, [(parent, shown) for shown in self._shown_names(parent, name, directory)])
                if not index % _NAMES:
                    await trio.lowlevel.checkpoint()
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
