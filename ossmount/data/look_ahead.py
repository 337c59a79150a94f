"""Whole small files fetched before they are read, and delivered into the kernel's page cache where there is a way to.

Which files, in which order and how far ahead is decided above (ossmount.filesystem.ahead); here is what one of them goes
through: fetched with nobody waiting, verified, then stored in the kernel's page cache or staged in the slab until it is
read. While a file is being stored its page stays in the slab and stays findable, whatever happens: the store may wait for a
READ of it, which must then be answered without the fetch processes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from ossmount.data.budget import Budget
from ossmount.data.interface import Outcome, PrefetchDone
from ossmount.data.page_cache import PageCache
from ossmount.data.pages import Page
from ossmount.errors import OssMountError
from ossmount.model import Version
from ossmount.oss.interface import PageStorer

Start = Callable[[Version], bool]


class LookAhead:
    """The files that are fetched ahead. Implements pages.Account: `unread` are the bytes in the slab that nobody has read."""

    def __init__(
        self, cache: PageCache, budget: Budget, largest: int, start: Start, freed: Callable[[], None], storer: PageStorer | None
    ) -> None:
        """largest: bytes of one file. `start` fetches a version on this account, False without room; `freed` is
        called when memory has come free."""
        self.unread = 0
        self._cache = cache
        self._budget = budget
        self._largest = largest
        self._start = start
        self._freed = freed
        self._storer = storer
        self._under_way: dict[Version, tuple[int, PrefetchDone]] = {}
        self._storing: dict[Version, bool] = {}  # True: forgotten meanwhile, to be dropped as soon as the store has ended
        self.stored = 0
        self.unknown = 0  # stores of nodes that the kernel does not know
        self.refused = 0  # stores that failed otherwise

    def __repr__(self) -> str:
        return f"<LookAhead {len(self._under_way)} under way, {len(self._storing)} being stored, {self.unread} bytes unread>"

    def fetch(self, version: Version, node: int, done: PrefetchDone) -> bool:
        """See data.interface.Prefetcher.prefetch."""
        there = version in self._under_way or version in self._storing or self._cache.has(version)
        if there or not 0 < version.size <= self._largest:
            done(Outcome.LEFT_OUT)
            return True
        if self.unread + version.size > self._budget.look_ahead:
            return False
        self._under_way[version] = (node, done)
        if self._start(version):
            return True
        self._under_way.pop(version, None)
        return False

    def ended(self, version: Version, error: OssMountError | None) -> None:
        """A fetch of the version has ended, perhaps one of ours."""
        page = self._cache.page(version, 0)
        if page is not None and page.transfer is not None:
            return  # what has ended is an older fetch of a version that was forgotten meanwhile; this page is not complete
        entry = self._under_way.pop(version, None)
        if entry is None:
            return
        node, done = entry
        if error is not None or page is None:
            done(Outcome.FAILED)
        elif page.account is not self:
            done(Outcome.READ)
        elif not (node and self._store(page, node, done)):
            done(Outcome.STAGED)

    def _store(self, page: Page, node: int, done: PrefetchDone) -> bool:
        version = page.version
        if self._storer is None or page.end != version.size:
            return False
        self._cache.hold(page)
        self._storing[version] = False
        if not self._storer.store(node, version.size, tuple(page.pieces), partial(self._stored, page, done)):
            del self._storing[version]
            self._cache.release(page)
            return False
        return True

    def _stored(self, page: Page, done: PrefetchDone, code: int) -> None:
        forgotten = self._storing.pop(page.version)
        self._cache.release(page)
        if code == 0:
            self.stored += 1
        elif code == errno.ENOENT:
            self.unknown += 1
        else:
            self.refused += 1
        if forgotten or code == 0:  # the kernel has it: the memory is for the next one
            self._cache.drop(page)
            self._freed()
        if code == 0:
            done(Outcome.STORED)
        else:
            done(Outcome.FAILED if forgotten else Outcome.STAGED)

    def forget(self, version: Version) -> None:
        """Drops all pages of a version; while it is being stored, afterwards."""
        if version in self._storing:
            self._storing[version] = True
        else:
            self._cache.drop_version(version)

    def facts(self) -> dict[str, object]:
        return {
            "prefetched_unread": self.unread,
            "stored": self.stored,
            "stored_unknown": self.unknown,
            "stored_refused": self.refused,
        }
