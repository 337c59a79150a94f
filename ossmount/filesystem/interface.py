"""What a channel may ask of the filesystem, in values of its own.

A channel unpacks a kernel request, calls one method of Operations, and packs what comes back. Everything that fails raises
an ossmount.errors.OssMountError (or gives it to read's callback); the channel answers errno_of() of it. All of it runs on
the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ossmount.errors import OssMountError
from ossmount.model import Soon


class Attributes(NamedTuple):
    """The fields of struct stat that a read-only file system has."""

    node: int
    mode: int  # type and permission bits
    nlink: int
    uid: int
    gid: int
    size: int  # bytes
    blocks: int  # of 512 bytes
    mtime_ns: int  # atime and ctime are the same


class Entry(NamedTuple):
    """An answer to LOOKUP. A node of 0 is a negative entry: the name does not exist, for entry_valid seconds."""

    node: int
    attributes: Attributes | None  # None only for a negative entry
    entry_valid: float  # seconds
    attr_valid: float  # seconds


class Common(NamedTuple):
    """What many entries of a listing have in common: one object for all of them."""

    mode: int  # type and permission bits
    nlink: int
    uid: int
    gid: int
    entry_valid: float  # seconds
    attr_valid: float  # seconds


class DirectoryEntry(NamedTuple):
    """One name of a directory, with what READDIRPLUS wants to know of it."""

    name: bytes
    node: int
    size: int  # bytes
    mtime_ns: int
    next_offset: int  # where reading goes on after this name
    common: Common


class FilesystemStatistics(NamedTuple):
    """struct statfs."""

    block_size: int
    blocks: int
    files: int
    name_max: int


#: Called once, on the event loop's thread, with the data or with the failure. The views point into the page cache and are
#: valid only until the call returns: send or copy them inside it.
ReadDone = Callable[[Sequence[memoryview] | OssMountError], None]


class Operations(Protocol):
    """A read-only file system. Node 1 is the root."""

    def lookup(self, parent: int, name: bytes) -> Soon[Entry]: ...

    def getattr(self, node: int) -> Soon[tuple[Attributes, float]]:
        """The attributes and for how many seconds the kernel may keep them."""
        ...

    def readlink(self, node: int) -> Soon[bytes]: ...

    def open(self, node: int, flags: int) -> Soon[bool]:
        """Revalidates the node as close-to-open wants it; True: pages that the kernel holds of it may be kept.

        Never called for a mount that skips OPEN, and nothing may depend on it.
        """
        ...

    def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
        """Calls done, at once or later, with the bytes from offset: `size` of them, or fewer at the end of the file."""
        ...

    def list(self, node: int, offset: int) -> Soon[Sequence[DirectoryEntry]]:
        """The names from offset on (0: from the first), some thousands at most; empty at the end.

        "." and ".." come first. Offsets stay good while the directory changes.
        """
        ...

    def getxattr(self, node: int, name: bytes) -> Soon[bytes]: ...

    def listxattr(self, node: int) -> Soon[Sequence[bytes]]: ...

    def statfs(self) -> FilesystemStatistics: ...

    def forget(self, node: int, count: int) -> None:
        """The kernel drops `count` lookups of the node. Advisory."""
        ...


class Kernel(Protocol):
    """What the filesystem may tell the kernel, through whichever channel serves it. Never blocks the event loop."""

    def invalidate_entry(self, parent: int, name: bytes) -> None: ...

    def invalidate_node(self, node: int) -> None:
        """Drops the attributes and pages of a node (of a directory: its cached listing)."""
        ...

    def after_invalidations(self, then: Callable[[], None]) -> None:
        """Calls then on the event loop's thread once everything asked for before has been told to the kernel.

        After a second it is called anyway: a notification may wait for a lock that a reader holds.
        """
        ...
