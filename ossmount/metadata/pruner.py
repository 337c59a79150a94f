"""Removes from the store what names nothing any more and what nobody can name: retired versions and directories.

A retired id stays resolvable for as long as the kernel may name it, by an open file or a name it has not dropped. FORGET does
not tell that (counts are advisory, and another daemon may have served the connection before), so the kernel is asked. Ids are
never given out again; one that was pruned is answered as one that never was, ESTALE.

Passes go from the greatest id to the least: a directory comes behind all that was ever in it (its id is the older one), and
stays as long as a node in it stays, whose key begins with its name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import trio

from ossmount.errors import OssMountError
from ossmount.metadata.store import Store
from ossmount.metadata.transaction import Transaction
from ossmount.metadata.tree import Tree

log = logging.getLogger(__name__)

PERIOD = 30.0  # seconds between two passes
GRACE = 60.0  # seconds: answers under way when an id was retired have long arrived, and a listing has gone on behind its name
ALONE = 60.0  # seconds without anybody else in the store: a mount whose daemon died has another one long before
BATCH = 1024  # ids in one question and one transaction: about 20 ms of CPU, of which the event loop has 5
REST = 1.0  # seconds after each, so that a million dropped versions cost 2 % of a core for a quarter of an hour

#: Of these nodes those that the kernel may still name.
Known = Callable[[Sequence[int]], Awaitable[Collection[int]]]


class Pruner:
    """One store's. Only where no other process had it open for a while: what the kernels of others know cannot be asked."""

    def __init__(self, store: Store, tree: Tree, known: Known, clock: Callable[[], float]) -> None:
        self._store = store
        self._tree = tree
        self._known = known
        self._clock = clock
        self.pruned = 0
        self._alone_since = clock()

    async def run(self) -> None:
        while True:
            await trio.sleep(PERIOD)
            try:
                await self.once()
            except OssMountError as failure:  # the store is full or being resized: those who wait for it are told
                log.info("retired versions stay for now: %s", failure)

    async def once(self) -> None:
        """One pass over all that is retired."""
        now = self._clock()
        if not self._is_alone(now):
            return
        holding: set[int] = set()  # directories in which something stays
        below: int | None = None
        while rows := self._store.retired(below, BATCH):
            below = rows[-1].id
            waiting = [row.id for row in rows if not 0 <= now - row.time < GRACE]
            known = await self._known(waiting) if waiting else ()
            going = set(waiting).difference(known)
            gone: list[int] = []
            for row in rows:
                if row.id in going and row.id not in holding:
                    gone.append(row.id)
                else:
                    holding.add(row.parent)
            if gone:
                if not self._is_alone(self._clock()):
                    return
                await self._store.write(partial(Transaction.prune, numbers=gone))
                self._tree.drop(gone)
                self.pruned += len(gone)
            await trio.sleep(REST)

    def _is_alone(self, now: float) -> bool:
        """Whether nobody else was seen for ALONE seconds."""
        self._alone_since = min(self._alone_since, now) if self._store.alone() else math.inf
        return now - self._alone_since >= ALONE
