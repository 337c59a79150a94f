"""Reads of versions of objects, out of the page cache or by fetches that several reads share.

Everything here runs on the event loop's thread, in callbacks: no tasks, no waiting. What keeps reads from waiting for ever:

- A read takes all the memory it needs at once or none; those that get none wait in one queue, first come, first served.
- Whoever holds memory holds it for a transfer, which ends, or for the time of one callback.
- The queue is looked at again whenever memory may have come free: after each transfer, each reply, each forgotten version.
- While reads queue, nothing is fetched ahead, and what is being fetched ahead with no reader waiting is cancelled.

Bytes of a whole object are given out once the fetch is done, since only then its CRC-64 is verified; bytes of a range as
they come.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from ossmount.config import DataConfig
from ossmount.data.blocks import BLOCK, aligned
from ossmount.data.budget import Budget
from ossmount.data.failures import Failures
from ossmount.data.holding import hold
from ossmount.data.interface import PrefetchDone, ReadDone
from ossmount.data.look_ahead import LookAhead
from ossmount.data.page_cache import PageCache
from ossmount.data.pages import Account, Page, PendingRead, Transfer
from ossmount.data.planning import Planning
from ossmount.data.readahead import Plan, Stream
from ossmount.data.slab import Slab
from ossmount.data.transfers import Range, Transfers
from ossmount.errors import Changed, Corrupted, Damaged, DeadlineExceeded, InvalidArgument, NotFound, OssMountError
from ossmount.model import Version
from ossmount.oss.interface import Fetcher, PageStorer

WHOLE = 1 << 20  # bytes; an object up to here is fetched whole when its first bytes are read
ALWAYS_WHOLE = 128 << 10  # bytes; and up to here wherever it is read: a second round trip costs more
GONE = (Changed, NotFound, Corrupted)  # failures after which nothing of the version is kept, and nothing tried again
JOINED_EARLY = 5.0  # seconds, an eighth of the deadline at most; later no read that joined readahead is begun anew


class ObjectReader:
    """Implements data.interface.Reader and Prefetcher."""

    def __init__(
        self,
        slab: Slab,
        fetcher: Fetcher,
        config: DataConfig,
        clock: Callable[[], float] = time.monotonic,
        storer: PageStorer | None = None,
        at_once: Callable[[Version], memoryview | None] | None = None,
        damaged: Callable[[Version, OssMountError], None] = lambda version, error: None,
    ) -> None:
        """at_once: all of a small object where that needs no waiting, valid until the next call. damaged: told of what stayed
        damaged, before the reads that fail for it are answered.
        """
        self._cache = PageCache(slab, kernel_keeps=config.kernel_keeps)
        self._budget = Budget.of(slab.size)
        self._planning = Planning(self._cache, self._budget, config)
        self._clock = clock
        self._at_once = at_once if config.kernel_keeps else None  # else the next read of it wants it in memory
        self._failures = Failures(clock)
        self._timeout = config.timeout
        self._damaged = damaged
        self._transfers = Transfers(self._cache, fetcher, self._some_ready, self._ended)
        self._queue: deque[PendingRead] = deque()
        self._pumping = self._pump_again = False
        self._look_ahead = LookAhead(self._cache, self._budget, WHOLE, self._fetch_told, self._pump, storer)
        self._counts = dict.fromkeys(
            ("hits", "misses", "joined", "queued", "fetched_ahead", "failed_ahead", "no_room_ahead"), 0
        )

    def read(self, version: Version, offset: int, size: int, done: ReadDone) -> None:
        end = min(offset + size, version.size)
        if end <= offset:
            done(())
            return
        page = self._cache.page(version, offset)
        if page is None or end > page.end or (page.transfer is not None and end > page.transfer.received):
            if page is not None or offset or end > WHOLE or end < version.size or not self._answer_at_once(version, done):
                self._miss(version, offset, end, done)
            return
        self._counts["hits"] += 1
        self._answer([page], offset, end, done)
        if version.size > WHOLE and (plan := self._planning.plan(version, offset, end, False)) is not None:
            self._fetch_ahead(version, plan.stream, plan.windows)
        if self._queue:
            self._pump()

    def prefetch(self, version: Version, node: int, done: PrefetchDone) -> bool:
        return self._look_ahead.fetch(version, node, done)

    def give_back(self, version: Version) -> None:
        page = self._cache.page(version, 0)
        if page is not None and page.account is self._look_ahead:
            if page.transfer is not None:
                self._transfers.cancel(page.transfer)
            else:
                self._look_ahead.forget(version)
            self._pump()

    def allot(self, slab: int, ahead: int, look_ahead: int) -> None:
        """Changes what memory may be used for (see Budget); the slab's own size is the most. What is too much is dropped:
        whole files fetched ahead first, then the windows of readers, then what is kept. No read fails for it.
        """
        budget, cache = self._budget, self._cache
        budget.slab, budget.ahead, budget.look_ahead = slab, ahead, look_ahead
        while self._look_ahead.unread > look_ahead and cache.drop_of(self._look_ahead):
            pass
        while cache.unread > ahead and cache.drop_ahead(None):
            pass
        cache.resize(slab)
        self._pump()

    def forget(self, version: Version) -> None:
        self._planning.forget(version)
        self._look_ahead.forget(version)
        self._transfers.cancel_version(version)
        self._pump()

    def hold(self, version: Version, start: int, targets: Sequence[tuple[int, int]]) -> Callable[[], None] | None:
        """Keeps what was fetched into the targets there until the function returned is called; None when that cannot be."""
        return None if self._queue else hold(self._cache, version, start, targets, self._pump)

    def facts_of(self, version: Version) -> dict[str, object]:
        return {"memory": self._cache.facts_of(version), "streams": self._planning.streams(version)}

    def facts(self) -> dict[str, object]:
        """Counters since the start, and how memory is used now (bytes)."""
        return {
            **self._counts,
            **self._look_ahead.facts(),
            "fetches": self._transfers.launched,
            "cancelled": self._transfers.cancelled,
            **self._cache.facts(),
            "transfers": len(self._transfers.under_way),
            "waiting_for_memory": len(self._queue),
        }

    # -- answering ----------------------------------------------------------------------------------------------------

    def _answer_at_once(self, version: Version, done: ReadDone) -> bool:
        """Answers a read of all of a small object without memory of ours, where that can be."""
        if self._at_once is None or (data := self._at_once(version)) is None:
            return False
        self._counts["misses"] += 1
        done((data,))
        return True

    def _answer(self, pages: list[Page], offset: int, end: int, done: ReadDone, held: bool = False) -> None:
        """Sends the bytes from offset to end, which lie in the pages; `held`: these are the read's own holds."""
        cache = self._cache
        views: list[memoryview] = []
        for page in pages:
            if not held:
                cache.hold(page)
            first, last = max(offset, page.start), min(end, page.end)
            views += cache.views(page, first, last)
            page.delivered += last - first
            if page.account is not None:
                cache.settle(page)
        try:
            done(views)
        finally:
            for page in pages:
                cache.release(page)

    def _answer_all(self, reads: list[PendingRead]) -> None:
        """Answers each, also when a callback fails: a defect of one reader must not leave the others waiting."""
        defect: BaseException | None = None
        for read in reads:
            read.waiting = -1
            try:
                self._answer(read.pages, read.offset, read.end, read.done, held=True)
            except BaseException as error:
                defect = defect or error
        if defect is not None:
            raise defect

    def _give_up(self, read: PendingRead) -> None:
        """Ends the waiting of a read, which is answered by other means."""
        read.waiting = -1
        for page in read.pages:
            self._cache.release(page)
        read.pages = []

    # -- misses -------------------------------------------------------------------------------------------------------

    def _miss(self, version: Version, offset: int, end: int, done: ReadDone) -> None:
        start, stop = aligned(offset, end, version.size)
        if stop - start > self._cache.size:
            done(InvalidArgument(f"a read of {end - offset} bytes with a memory limit of {self._cache.size}"))
            return
        read = PendingRead(version, offset, end, done, self._clock())
        pages, gaps = self._cache.find(version, start, stop)
        if gaps:
            if (failure := self._recent_failure(version, gaps)) is not None:
                done(failure)
                return
            self._counts["misses"] += 1
        else:
            self._counts["joined"] += 1
        plan = None
        more = gaps
        if self._is_whole(version, offset):
            more = [(0, version.size)]
        elif version.size > ALWAYS_WHOLE:
            plan = self._planning.plan(version, offset, end, bool(gaps))
            if plan is not None and gaps and not self._queue:
                more = self._planning.extended(version, end, gaps, plan)
            if gaps and not self._queue and (failed := self._failures.rest(version, offset)) > end:
                more = self._cache.find(version, *aligned(offset, failed, version.size))[1]
        if (gaps and self._queue) or not (
            (more != gaps and self._begin(read, pages, more, plan)) or self._begin(read, pages, gaps, None)
        ):
            self._counts["queued"] += 1
            self._queue.append(read)
        if plan is not None:
            self._fetch_ahead(version, plan.stream, plan.windows)
        if self._queue:
            self._pump()

    def _is_whole(self, version: Version, offset: int) -> bool:
        """Whether a read that misses fetches the whole object."""
        small = version.size <= WHOLE and (offset == 0 or version.size <= ALWAYS_WHOLE)
        return small and not self._cache.has(version)

    def _begin(self, read: PendingRead, pages: list[Page], gaps: list[Range], plan: Plan | None) -> bool:
        """Fetches the gaps and makes the read wait; False, with nothing changed, when there is no room for them."""
        cache, version = self._cache, read.version
        for page in pages:
            cache.hold(page)
        started = self._transfers.prepare(version, gaps, True, aligned(read.offset, read.end, version.size)[1] if plan else 0)
        if started is None:
            for page in pages:
                cache.release(page)
            return False
        for transfer in started:
            for page in transfer.pages:
                if page.start < read.end and page.end > read.offset:
                    cache.hold(page)
                    pages.append(page)
                elif plan is not None:
                    cache.charge(page, plan.stream)
        pages.sort(key=attrgetter("start"))
        read.pages = pages
        needs: dict[Transfer, int] = {}
        for page in pages:
            need = min(read.end, page.end)
            if page.transfer is not None and page.transfer.received < need:
                needs[page.transfer] = need
        read.waiting = len(needs)
        for transfer, need in needs.items():
            self._transfers.join(transfer, need, read)
        for transfer in started:
            self._transfers.launch(transfer)
        if not needs:
            self._answer_all([read])
        return True

    def _recent_failure(self, version: Version, gaps: list[Range]) -> OssMountError | None:
        for start, end in gaps:
            if (failure := self._failures.recall(version, start, end)) is not None:
                return failure
        return None

    # -- the queue for memory -----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Begins the reads that wait for memory, in their order, as far as it goes.

        Everything that holds memory ends by its deadline, so that no read is looked at much later than its own.
        """
        self._pump_again = True
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._pump_again and self._queue:
                self._pump_again = False
                read = self._queue.popleft()
                if self._clock() - read.since > self._timeout:
                    self._pump_again = True
                    error = DeadlineExceeded(f"no memory within {self._timeout:g} s: --memory-limit is too small for this")
                    self._failures.remember(read.version, read.offset, read.end, error)
                    read.done(error)
                elif self._resume(read) or (not self._transfers.under_way and self._resume_alone(read)):
                    self._pump_again = True
                else:
                    self._queue.appendleft(read)
                    self._transfers.reclaim(read.end - read.offset + 2 * BLOCK)
        finally:
            self._pumping = False

    def _resume(self, read: PendingRead) -> bool:
        pages, gaps = self._cache.find(read.version, *aligned(read.offset, read.end, read.version.size))
        if (failure := self._recent_failure(read.version, gaps)) is not None:
            read.waiting = -1
            read.done(failure)
            return True
        return self._begin(read, pages, gaps, None)

    def _resume_alone(self, read: PendingRead) -> bool:
        """Begins a read for which there is no room although nothing is under way.

        The pages that it needs only a part of take that room; without them its own bytes fit.
        """
        for page in self._cache.find(read.version, *aligned(read.offset, read.end, read.version.size))[0]:
            self._cache.drop(page)
        return self._resume(read)

    # -- fetching ahead -----------------------------------------------------------------------------------------------

    def _fetch_ahead(self, version: Version, stream: Stream, windows: list[Range]) -> None:
        for start, end in windows:
            if not self._fetch_window(version, start, end, stream):
                self._counts["no_room_ahead"] += 1
                stream.cut(start, end)
                return

    def _fetch_window(self, version: Version, start: int, end: int, account: Account) -> bool:
        """Fetches what is missing of the window; False when there is no room for it."""
        _, gaps = self._cache.find(version, *aligned(start, end, version.size))
        if not gaps:
            return True
        if self._queue:
            return False
        room = self._budget.ahead - sum([stop - start for start, stop in gaps])
        while self._cache.unread > room:  # readers that have gone away give way
            if not self._cache.drop_ahead(account):
                return False
        transfers = self._transfers.prepare(version, gaps, False)
        if transfers is None:
            return False
        self._counts["fetched_ahead"] += len(transfers)
        for transfer in transfers:
            for page in transfer.pages:
                self._cache.charge(page, account)
        for transfer in transfers:
            self._transfers.launch(transfer)
        return True

    def _fetch_told(self, version: Version) -> bool:
        room = self._budget.ahead - version.size
        return self._cache.unread <= room and self._fetch_window(version, 0, version.size, self._look_ahead)

    # -- what has come ------------------------------------------------------------------------------------------------

    def _some_ready(self, reads: list[PendingRead]) -> None:
        try:
            self._answer_all(reads)
        finally:
            self._pump()

    def _ended(self, transfer: Transfer, reads: list[PendingRead], error: OssMountError | None) -> None:
        if isinstance(error, Corrupted):  # what was given out before must not be all that anybody hears of it
            self._failures.condemn(transfer.version, error)
            reads = list(dict.fromkeys([*reads, *self._transfers.abandon(transfer.version)]))
        if isinstance(error, Damaged):
            self._damaged(transfer.version, error)
        if isinstance(error, GONE):
            self._look_ahead.forget(transfer.version)
            self._planning.forget(transfer.version)
        try:
            if error is None:
                self._answer_all(reads)
            else:
                self._failed(transfer, reads, error)
        finally:
            self._pump()
            self._look_ahead.ended(transfer.version, error)

    def _failed(self, transfer: Transfer, waiting: list[PendingRead], error: OssMountError) -> None:
        if not transfer.demand and not transfer.cancelled:
            self._counts["failed_ahead"] += 1
        again: list[PendingRead] = []
        for read in waiting:
            self._give_up(read)
            late = self._clock() - read.since > min(JOINED_EARLY, self._timeout / 8)
            if transfer.started_by_demand or read.retried or late or isinstance(error, GONE):
                self._failures.remember(read.version, read.offset, read.end, error)
            else:
                again.append(read)
        self._queue.extendleft([read.again() for read in reversed(again)])
        defect: BaseException | None = None
        for read in waiting:
            if read not in again:
                try:
                    read.done(error)
                except BaseException as failure:
                    defect = defect or failure
        if defect is not None:
            raise defect
