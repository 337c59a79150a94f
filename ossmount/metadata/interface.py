"""What the filesystem may ask of the metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ossmount.model import Absent, Found, Kind, Node, Soon

ROOT = 1


class Named(NamedTuple):
    """One name of a directory and the node behind it; flat, since listings are made of hundreds of thousands of them."""

    name: bytes
    node: int  # id
    kind: Kind
    size: int  # as in Node
    mtime_ns: int
    fresh_for: float  # as in Found


class Listed(NamedTuple):
    """What is known of a directory's whole listing."""

    # Nanoseconds since the epoch: when all of it was last true; now, where that is longer ago than its TTL; 0: not known whole
    time_ns: int
    fresh_for: float  # seconds for which it may still be believed; math.inf where there is nothing to believe


class KnownTree(Protocol):
    """What the metadata store knows, without a request to OSS and however old it is: for guesses, never for answers."""

    def parent_of(self, node: int) -> int:
        """The directory in which the node has, or had, its name; raises StaleNode."""
        ...

    def known(self, directory: int, start: bytes, limit: int) -> tuple[Sequence[Node], bytes | None]:
        """Some `limit` nodes in the order of their keys, and where to go on (b"" is the start, None the end)."""
        ...

    def known_behind(self, node: int, limit: int) -> Sequence[Node]:
        """The nodes that follow one in its directory, at most `limit`."""
        ...


class Namespace(Protocol):
    """The tree below the mounted prefix."""

    def lookup(self, parent: int, name: bytes) -> Soon[Found | Absent]: ...

    def getattr(self, node: int) -> Soon[Found]:
        """Asks OSS again when the attributes are older than their TTL; raises StaleNode for a version that is gone."""
        ...

    async def revalidate(self, node: int) -> Found:
        """Asks OSS now, however fresh the node is; raises StaleNode for a version that is gone."""
        ...

    def resolve(self, node: int) -> Node:
        """The node as it is stored, without asking OSS; raises StaleNode."""
        ...

    def parent_of(self, node: int) -> int:
        """The directory in which the node has, or had, its name, the root's being itself; raises StaleNode."""
        ...

    def file(self, key: bytes) -> Node | None:
        """The object of a key as it is stored, without asking OSS; None when it is not known."""
        ...

    def list(self, node: int, after: bytes) -> Soon[Sequence[Named]]:
        """The names behind `after` in byte order, some thousands at most; empty at the end."""
        ...

    def listed(self, node: int) -> Listed:
        """Without asking OSS: what shows the kernel whether a listing that it keeps is still to be believed."""
        ...

    def name_of(self, node: int) -> bytes:
        """The last name under which the node was given out (also when it is stale); raises StaleNode if never."""
        ...

    async def readlink(self, node: int) -> bytes: ...

    def version_gone(self, node: int) -> None:
        """The data path met 412 or 404 for this node's version: from now on the node is stale and its names unknown."""
        ...
