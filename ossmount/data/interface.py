"""What the filesystem may ask of the data path."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from ossmount.errors import OssMountError
from ossmount.model import Version

#: Called once, on the event loop's thread; the views are valid only until it returns.
ReadDone = Callable[[Sequence[memoryview] | OssMountError], None]


class Outcome(enum.Enum):
    """What became of a file that was to be fetched before it is read."""

    STORED = "stored"  # in the kernel's page cache, and nothing of it in ours
    STAGED = "staged"  # in our memory, until it is read or gives way
    READ = "read"  # read while it was under way
    LEFT_OUT = "left out"  # it is in memory already, or too large, or empty
    FAILED = "failed"


#: Called once for each prefetch() that returned True, perhaps before it returns.
PrefetchDone = Callable[[Outcome], None]


class Prefetcher(Protocol):
    """Whole small files fetched before they are read. Never at the cost of a reader, and never an error to one."""

    def prefetch(self, version: Version, node: int, done: PrefetchDone) -> bool:
        """Fetches a file with nobody waiting. node: whose pages the kernel is to be given; 0: it stays in our memory.

        False when there is no room now: nothing has happened then.
        """
        ...

    def give_back(self, version: Version) -> None:
        """Nobody is going to read what was prefetched: ends the fetch, frees the memory."""
        ...


class Reader(Protocol):
    """Reads of versions of objects."""

    def read(self, version: Version, offset: int, size: int, done: ReadDone) -> None:
        """Gives done the bytes from offset (fewer only at the end of the object), at once when they lie in memory."""
        ...

    def forget(self, version: Version) -> None:
        """The version is gone: drops what is cached of it."""
        ...
