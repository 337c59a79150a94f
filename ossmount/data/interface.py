"""What the filesystem may ask of the data path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ossmount.errors import OssMountError
from ossmount.model import Version

#: Called once, on the event loop's thread; the views are valid only until it returns.
ReadDone = Callable[[Sequence[memoryview] | OssMountError], None]


class Reader(Protocol):
    """Reads of versions of objects."""

    def read(self, version: Version, offset: int, size: int, done: ReadDone) -> None:
        """Gives done the bytes from offset (fewer only at the end of the object), at once when they lie in memory."""
        ...

    def forget(self, version: Version) -> None:
        """The version is gone: drops what is cached of it."""
        ...
