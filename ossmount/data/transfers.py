"""The fetches that fill pages: prepared, launched, joined by readers, cancelled, ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ossmount.data.blocks import blocks_of
from ossmount.data.page_cache import PAGE, PageCache
from ossmount.data.pages import PendingRead, Transfer
from ossmount.errors import OssMountError
from ossmount.model import Version
from ossmount.oss.interface import Fetcher, FetchRequest

Range = tuple[int, int]  # first byte, byte behind the last

#: Called with the reads that wait for nothing any more, because more bytes have come.
Ready = Callable[[list[PendingRead]], None]
#: Called when a transfer has ended: the reads that are ready now, or those that waited for it and the failure.
Ended = Callable[[Transfer, list[PendingRead], OssMountError | None], None]


class Transfers:
    """What is under way. Its owner answers the reads."""

    def __init__(self, cache: PageCache, fetcher: Fetcher, ready: Ready, ended: Ended) -> None:
        self._cache = cache
        self._fetcher = fetcher
        self._ready = ready
        self._ended = ended
        self.under_way: dict[Transfer, None] = {}  # oldest first
        self.returning = 0  # bytes of cancelled transfers that have not ended
        self.launched = 0
        self.cancelled = 0

    def prepare(self, version: Version, gaps: list[Range], demand: bool, cut: int = 0) -> list[Transfer] | None:
        """A transfer for each gap, with its pages, one of which begins at `cut`; None when there is no room for all."""
        parts = [_split(start, end, cut) for start, end in gaps]
        blocks = sum([blocks_of(end - start) for part in parts for start, end in part])
        if blocks and not self._cache.reserve(blocks, sum(map(len, parts))):
            return None
        transfers = []
        for (start, end), part in zip(gaps, parts, strict=True):
            transfer = Transfer(version, start, end, demand)
            transfer.pages = [self._cache.add(version, first, last, transfer) for first, last in part]
            transfers.append(transfer)
        return transfers

    def launch(self, transfer: Transfer) -> None:
        """Starts the fetch, which may end before this returns."""
        self.launched += 1
        self.under_way[transfer] = None
        length = transfer.end - transfer.start
        request = FetchRequest(transfer.version, transfer.start, length, transfer.targets, transfer.demand)
        # Of a whole object nothing is given out until the fetch is done: its CRC-64 is known only then.
        progress = None if length == transfer.version.size else partial(self._progressed, transfer)
        transfer.number = self._fetcher.fetch(request, partial(self._finished, transfer), progress)

    def join(self, transfer: Transfer, need: int, read: PendingRead) -> None:
        """The read waits until the bytes up to `need` have come."""
        transfer.waiters.append((need, read))
        if not transfer.demand:
            transfer.demand = True
            if transfer.number >= 0:
                self._fetcher.promote(transfer.number)

    def cancel(self, transfer: Transfer) -> bool:
        """Ends a transfer that no reader has ever waited for; its memory comes free when it has ended."""
        if transfer.demand or transfer.cancelled or transfer.number < 0:
            return False
        transfer.cancelled = True
        self.cancelled += 1
        self.returning += transfer.end - transfer.start
        for page in transfer.pages:
            self._cache.drop(page)
        self._fetcher.cancel(transfer.number)
        return True

    def cancel_version(self, version: Version) -> None:
        """Cancels what is under way of a version and no reader waits for."""
        for transfer in list(self.under_way):
            if transfer.version == version:
                self.cancel(transfer)

    def abandon(self, version: Version) -> list[PendingRead]:
        """Takes away the reads that wait for what is under way of a version."""
        taken: dict[PendingRead, None] = {}
        for transfer in self.under_way:
            if transfer.version == version:
                taken.update(dict.fromkeys([read for _, read in transfer.waiters if read.waiting > 0]))
                transfer.waiters = []
        return list(taken)

    def reclaim(self, size: int) -> None:
        """Cancels what is fetched ahead with nobody waiting, the latest first, until so many bytes will come free."""
        for transfer in list(reversed(self.under_way)):
            if self._cache.available + self.returning >= size:
                return
            self.cancel(transfer)

    def _progressed(self, transfer: Transfer, received: int) -> None:
        if transfer not in self.under_way:
            return
        # A fetch that is repeated begins again: what was there before is still there, and the same.
        ready = transfer.reach(max(transfer.received, min(transfer.start + received, transfer.end)))
        if ready:
            self._ready(ready)

    def _finished(self, transfer: Transfer, error: OssMountError | None) -> None:
        del self.under_way[transfer]
        if transfer.cancelled:
            self.returning -= transfer.end - transfer.start
        if error is None:
            reads = transfer.reach(transfer.end)
        else:
            reads = [read for _, read in transfer.waiters if read.waiting > 0]
            transfer.waiters = []
            for page in transfer.pages:
                self._cache.drop(page)
        for page in transfer.pages:
            page.transfer = None
            self._cache.release(page)
        self._ended(transfer, reads, error)


def _split(start: int, end: int, cut: int) -> list[Range]:
    """The range in pages; no page lies on both sides of `cut`."""
    parts = []
    while start < end:
        stop = min((start // PAGE + 1) * PAGE, end)
        if start < cut < stop:
            stop = cut
        parts.append((start, stop))
        start = stop
    return parts
