"""Pages: what lies in memory, of which version, and what is dropped first.

Pages of a version never overlap and are exactly as long as what was asked for, so that "valid" is a number and not a bitmap:
a random read of 64 KiB costs 64 KiB of memory, a small file its own size rounded up to 4 KiB.

A page is *held* while a fetch may write into it or a reply is being sent from it; only pages that nobody holds are dropped.
Of those the kernel has its own copy once it has read them (its page cache is the real cache, ours is staging), so that
pages that were delivered completely are dropped first, then the rest, each least recently used first.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator

from ossmount.data.blocks import BLOCK, Blocks, Run, blocks_of
from ossmount.data.pages import Account, Page, Transfer
from ossmount.data.slab import Slab
from ossmount.model import Version

PAGE = 1 << 20  # bytes; the longest page. Pages end at multiples of it.
KEEP_READ = 64 << 20  # bytes of pages that the kernel has read and that are kept nevertheless, at most a quarter of the slab
PAGES_PER_SLAB = 16 << 10  # bytes of slab for each page there may be: bounds what pages cost beside the slab (0.7 KB each)


class PageCache:
    """The pages in one slab."""

    def __init__(self, slab: Slab, *, kernel_keeps: bool = True) -> None:
        """kernel_keeps: what was delivered lies in the kernel's page cache (not so with direct I/O)."""
        self._slab = slab
        self._view = slab.view
        self._blocks = Blocks(slab.size // BLOCK)
        self._pages: dict[Version, list[Page]] = {}  # sorted by start
        self._read: dict[Page, None] = {}  # not held, delivered completely; least recently used first
        self._unread: dict[Page, None] = {}  # not held, the rest; least recently used first
        self._ahead: dict[Page, None] = {}  # those of _unread that were fetched ahead and not touched yet
        self._idle = 0  # blocks in _read and _unread
        self._idle_read = 0  # blocks in _read
        self._kernel_keeps = kernel_keeps
        self._withheld: list[Run] = []  # blocks that hold nothing and are not used, while the cache is smaller than the slab
        self._owed = 0  # blocks that are to be withheld as soon as they are free
        self._most = max(64, slab.size // PAGES_PER_SLAB)
        self.count = 0
        self.size = slab.size  # bytes that may be used now
        self._keep_read = self._kept_when_read()
        self.dropped = 0  # pages, for room
        self.dropped_unread = 0  # bytes fetched ahead that were dropped for room before they were read
        self.accounts = 0  # that have unread bytes
        self.unread = 0  # bytes of all accounts

    # -- finding ------------------------------------------------------------------------------------------------------

    def page(self, version: Version, offset: int) -> Page | None:
        """The page that covers the offset."""
        pages = self._pages.get(version)
        if pages is None:
            return None
        at = 0 if len(pages) == 1 else bisect_right(pages, offset, key=_start) - 1
        page = pages[at]
        return page if at >= 0 and page.start <= offset < page.end else None

    def find(self, version: Version, start: int, end: int) -> tuple[list[Page], list[tuple[int, int]]]:
        """The pages that overlap the range and the gaps between them, both in order."""
        found: list[Page] = []
        gaps: list[tuple[int, int]] = []
        pages = self._pages.get(version, ())
        at = max(0, bisect_right(pages, start, key=_start) - 1)
        while at < len(pages) and pages[at].start < end:
            page = pages[at]
            at += 1
            if page.end <= start:
                continue
            if page.start > start:
                gaps.append((start, page.start))
            found.append(page)
            start = page.end
        if start < end:
            gaps.append((start, end))
        return found, gaps

    def facts(self) -> dict[str, int]:
        """How memory is used now (bytes), and counters."""
        return {
            "memory_limit": self.size,
            "memory_free": self.free,
            "memory_held": self.size - self.available,
            "memory_unread": self.unread,
            "pages": self.count,
            "pages_dropped": self.dropped,
            "dropped_unread": self.dropped_unread,
        }

    def facts_of(self, version: Version) -> dict[str, int]:
        """What lies in memory of a version, and what is on its way (bytes)."""
        pages = self._pages.get(version, ())
        there = sum(page.end - page.start for page in pages if page.transfer is None)
        return {"pages": len(pages), "bytes": there, "on_their_way": sum(page.end - page.start for page in pages) - there}

    def has(self, version: Version) -> bool:
        """Whether any page of the version is there."""
        return version in self._pages

    def views(self, page: Page, start: int, end: int) -> Iterator[memoryview]:
        """The memory of the part of the page from start to end (offsets in the object)."""
        at = page.start
        for offset, length in page.pieces:
            first, last = max(start, at), min(end, at + length)
            if first < last:
                yield self._view[offset + first - at : offset + last - at]
            at += length

    # -- memory -------------------------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Bytes that hold no page."""
        return self._blocks.free * BLOCK

    @property
    def available(self) -> int:
        """Bytes that are free or would be at once."""
        return max(0, self._blocks.free + self._idle - self._owed) * BLOCK

    def reserve(self, blocks: int, pages: int) -> bool:
        """Makes room for so many more pages of so many blocks together, or changes nothing and says False."""
        idle = len(self._read) + len(self._unread)
        if blocks > self._blocks.free + self._idle - self._owed or self.count - idle + pages > self._most:
            return False
        while blocks > self._blocks.free or self.count + pages > self._most:
            self._drop_for_room()
        return True

    def _drop_for_room(self) -> None:
        page = next(iter(self._read or self._unread))
        self.dropped += 1
        if page.account is not None:
            self.dropped_unread += page.end - page.start
        self.drop(page)

    def resize(self, size: int) -> None:
        """From now on at most `size` bytes of the slab are used; the rest is the machine's. Up to the size of the slab.

        Pages that are held are not touched: their blocks are withheld when they come free.
        """
        size = min(size, self._slab.size) // BLOCK * BLOCK
        self._owed += (self.size - size) // BLOCK
        self.size = size
        self._keep_read = self._kept_when_read()
        while self._owed < 0 and self._withheld:
            start, count = self._withheld.pop()
            used = min(count, -self._owed)
            self._blocks.give(start, used)
            if used < count:
                self._withheld.append((start + used, count - used))
            self._owed += used
        while self._owed > self._blocks.free and self._idle:
            self._drop_for_room()
        self._withhold()

    def _withhold(self) -> None:
        count = min(self._owed, self._blocks.free)
        if count > 0:
            self._owed -= count
            for start, length in self._blocks.take(count):
                self._slab.give_back(start * BLOCK, length * BLOCK)
                self._withheld.append((start, length))

    def _kept_when_read(self) -> int:
        """Blocks. Memory that is used again lies in the processor's caches and needs no fresh zeroed page of the kernel."""
        return min(KEEP_READ, self.size // 4) // BLOCK if self._kernel_keeps else self._blocks.count

    def add(self, version: Version, start: int, end: int, transfer: Transfer) -> Page:
        """A page that is held by the transfer that fills it. Its room must have been reserved."""
        pieces: list[tuple[int, int]] = []
        left = end - start
        for first, count in self._blocks.take(blocks_of(left)):
            length = min(left, count * BLOCK)
            pieces.append((first * BLOCK, length))
            left -= length
        page = Page(version, start, end, pieces)
        page.transfer = transfer
        page.holds = 1
        self.count += 1
        pages = self._pages.get(version)
        if pages is None:
            self._pages[version] = [page]
        else:
            insort(pages, page, key=_start)
        return page

    def hold(self, page: Page) -> None:
        """Keeps the page in memory until release()."""
        if page.holds == 0:
            self._rest(page, -1)
        page.holds += 1

    def release(self, page: Page) -> None:
        """The end of a hold; the page is now the most recently used one."""
        page.holds -= 1
        if page.holds == 0:
            if page.attached:
                self._rest(page, 1)
            else:
                self._free(page)

    def drop(self, page: Page) -> None:
        """The page is found no more; its memory is free as soon as nobody holds it."""
        if not page.attached:
            return
        page.attached = False
        pages = self._pages[page.version]
        if len(pages) == 1:
            del self._pages[page.version]
        else:
            del pages[bisect_right(pages, page.start, key=_start) - 1]
        if page.holds == 0:
            self._rest(page, -1)
            self._free(page)
        self.settle(page)

    def drop_version(self, version: Version) -> None:
        """Drops all pages of the version."""
        for page in list(self._pages.get(version, ())):
            self.drop(page)

    # -- what was fetched ahead ---------------------------------------------------------------------------------------

    def charge(self, page: Page, account: Account) -> None:
        """The page, which its transfer still holds, is fetched ahead for the account."""
        page.account = account
        if account.unread == 0:
            self.accounts += 1
        account.unread += page.end - page.start
        self.unread += page.end - page.start

    def settle(self, page: Page) -> None:
        """The page, which is held or dropped, is not ahead of its reader any more."""
        account = page.account
        if account is not None:
            page.account = None
            account.unread -= page.end - page.start
            self.unread -= page.end - page.start
            if account.unread == 0:
                self.accounts -= 1

    def drop_ahead(self, but_of: Account | None) -> bool:
        """Drops the page that was fetched ahead longest ago; False when nothing of another account can be dropped."""
        page = next(iter(self._ahead), None)
        return page is not None and page.account is not but_of and self._drop_unread(page)

    def drop_of(self, account: Account) -> bool:
        """Drops the page that was fetched ahead for the account longest ago; False when there is none to drop."""
        page = next((page for page in self._ahead if page.account is account), None)
        return page is not None and self._drop_unread(page)

    def _drop_unread(self, page: Page) -> bool:
        self.dropped_unread += page.end - page.start
        self.drop(page)
        return True

    def _rest(self, page: Page, sign: int) -> None:
        """Puts the page among those that may be dropped (1) or takes it away (-1)."""
        size = page.end - page.start
        read = page.delivered >= size
        idle = self._read if read else self._unread
        if sign > 0:
            idle[page] = None
            if page.account is not None:
                self._ahead[page] = None
        else:
            del idle[page]
            if page.account is not None:
                del self._ahead[page]
        blocks = sign * blocks_of(size)
        self._idle += blocks
        if read:
            self._idle_read += blocks
            while self._idle_read > self._keep_read and len(self._read) > 1:
                self.drop(next(iter(self._read)))

    def _free(self, page: Page) -> None:
        self.count -= 1
        for offset, length in page.pieces:
            self._blocks.give(offset // BLOCK, blocks_of(length))
        if self._owed > 0:
            self._withhold()


def _start(page: Page) -> int:
    return page.start
