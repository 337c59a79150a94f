"""What the layers above may ask of OSS: the control plane (listings, HEAD) and the data plane (ranged GETs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ossmount.errors import OssMountError
from ossmount.model import ListPage, ObjectInfo, Version


class ObjectLister(Protocol):
    """The control plane of one bucket, as coroutines. Raises ossmount.errors."""

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage: ...

    async def head(self, key: bytes) -> ObjectInfo: ...

    async def symlink_target(self, key: bytes) -> bytes: ...


#: Called once all bytes of a range are there, before its FetchDone: with the CRC-64 of the range and that which OSS tells of
#: the whole object (None: it tells none). What it returns is what the fetch ends in.
RangeSummed = Callable[[int, int | None], OssMountError | None]


class FetchRequest(NamedTuple):
    """One ranged GET with If-Match, received into the slab."""

    version: Version
    start: int  # offset in the object
    length: int  # bytes, at least 1
    targets: tuple[tuple[int, int], ...]  # (offset in the slab, length) pieces that the range fills in order
    demand: bool = True  # a reader waits for it; False: readahead
    summed: RangeSummed | None = None  # of a part of an object: who compares checksums


#: Called with the number of bytes of the range that lie in the slab so far, in order, while a reader waits for it; a hint, may
#: never be called.
FetchProgress = Callable[[int], None]
#: Called exactly once for each fetch, also after cancel(): None once all bytes lie in the slab, else the failure.
FetchDone = Callable[[OssMountError | None], None]


#: Called exactly once for each store() that returned True, with an errno; 0: the file lies in the kernel's page cache.
StoreDone = Callable[[int], None]


class SlowFetch(NamedTuple):
    """A fetch that took long. Seconds."""

    key: bytes
    start: int
    length: int
    seconds: float
    queued: float  # of these, until it had a connection
    paused: float  # and between two attempts
    tries: int
    failure: str  # "" for success


#: Called on the event loop's thread, before the fetch's own done.
SlowWatcher = Callable[[SlowFetch], None]


class PageStorer(Protocol):
    """Delivery into the kernel's page cache (FUSE_NOTIFY_STORE), by the processes that share the slab."""

    def store(self, node: int, size: int, targets: tuple[tuple[int, int], ...], done: StoreDone) -> bool:
        """Pushes a whole file of that size; False when there is no kernel to push to.

        Until done is called, every READ of the node must be answerable from the slab without a fetch: the store may wait for
        it. ENOENT is ordinary: the kernel does not know the node (any more).
        """
        ...


class Fetcher(Protocol):
    """The data plane. Retries inside the deadline, then fails; calls back on the event loop's thread."""

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        """Starts a fetch and returns its number."""
        ...

    def promote(self, number: int) -> None:
        """A reader waits now for what was readahead."""
        ...

    def cancel(self, number: int) -> None:
        """Nobody waits any more. The targets may be written until done is called."""
        ...
