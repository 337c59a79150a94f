"""The values that the page cache and the reader pass to and fro: pages, the transfers that fill them, the reads that wait."""

from __future__ import annotations

from typing import Protocol

from ossmount.data.interface import ReadDone
from ossmount.model import Version


class Account(Protocol):
    """On whose account pages were fetched ahead of their reader."""

    unread: int  # bytes fetched ahead and not read yet


class Page:
    """A run of bytes of one version in memory, 4 KiB to 1 MiB. Valid from its start to as far as its transfer has come."""

    __slots__ = ("account", "attached", "delivered", "end", "holds", "pieces", "start", "transfer", "version")

    def __init__(self, version: Version, start: int, end: int, pieces: list[tuple[int, int]]) -> None:
        self.version = version
        self.start = start  # offsets in the object
        self.end = end
        self.pieces = pieces  # (offset in the slab, bytes), in order
        self.holds = 0
        self.attached = True  # False: dropped, and its memory is free once nobody holds it
        self.transfer: Transfer | None = None  # None: complete
        self.delivered = 0  # bytes sent from it, repeats included
        self.account: Account | None = None

    def __repr__(self) -> str:
        return f"<Page {self.start}-{self.end} of {self.version.key!r}, {self.holds} holds, {self.transfer}>"


class PendingRead:
    """A read that could not be answered at once. It holds all pages that it will be answered from."""

    __slots__ = ("done", "end", "offset", "pages", "retried", "since", "version", "waiting")

    def __init__(self, version: Version, offset: int, end: int, done: ReadDone, since: float) -> None:
        self.version = version
        self.offset = offset
        self.end = end
        self.done = done
        self.since = since  # on the reader's clock
        self.pages: list[Page] = []  # in order
        self.waiting = 0  # transfers that it waits for; -1: answered
        self.retried = False  # it has joined readahead that failed, and has asked again itself

    def again(self) -> PendingRead:
        """The same read, to be asked for anew; this one counts as answered."""
        read = PendingRead(self.version, self.offset, self.end, self.done, self.since)
        read.retried = True
        return read

    def __repr__(self) -> str:
        return f"<PendingRead {self.offset}-{self.end} of {self.version.key!r}, waits for {self.waiting} transfers>"


class Transfer:
    """One GET that fills pages."""

    __slots__ = (
        "cancelled",
        "demand",
        "end",
        "number",
        "pages",
        "received",
        "start",
        "started_by_demand",
        "version",
        "waiters",
    )

    def __init__(self, version: Version, start: int, end: int, demand: bool) -> None:
        self.version = version
        self.start = start
        self.end = end
        self.received = start  # offset in the object up to which bytes may be read
        self.demand = demand  # somebody waits for it
        self.started_by_demand = demand
        self.cancelled = False
        self.number = -1  # of the fetcher, once it has started
        self.pages: list[Page] = []
        self.waiters: list[tuple[int, PendingRead]] = []  # (offset up to which it needs bytes, who)

    @property
    def targets(self) -> tuple[tuple[int, int], ...]:
        return tuple([piece for page in self.pages for piece in page.pieces])

    def reach(self, received: int) -> list[PendingRead]:
        """Bytes up to the offset have come: the reads that wait for no transfer any more."""
        self.received = received
        ready: list[PendingRead] = []
        left: list[tuple[int, PendingRead]] = []
        for need, read in self.waiters:
            if need > received:
                left.append((need, read))
            elif read.waiting > 0:
                read.waiting -= 1
                if read.waiting == 0:
                    ready.append(read)
        self.waiters = left
        return ready

    def __repr__(self) -> str:
        return f"<Transfer {self.start}-{self.end}, received to {self.received}>"
