"""The values that the layers hand to each other.

Keys and names are bytes everywhere: OSS orders keys by their UTF-8 bytes and the kernel's names are bytes, so nothing is
decoded between the two. Times are integers of nanoseconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

#: What an operation returns whose answer is often in memory already: the answer, or a coroutine that yields it.
#: The caller tests for a coroutine and starts a task for that case only (a task costs trio about 30 microseconds).
Soon: TypeAlias = T | Coroutine[Any, Any, T]


class Kind(enum.IntEnum):
    """What a node is. The values are stored in the metadata store: never renumber them."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


class ObjectInfo(NamedTuple):
    """One object as OSS describes it in a listing or in the headers of HEAD and GET."""

    key: bytes
    size: int
    mtime_ns: int
    etag: str  # without quotes
    object_type: str = "Normal"  # Normal, Multipart, Appendable, Symlink
    storage_class: str = "Standard"
    crc64: int | None = None  # x-oss-hash-crc64ecma; listings do not carry it


class ListPage(NamedTuple):
    """One page of ListObjectsV2, both parts in key order (UTF-8 bytes)."""

    objects: list[ObjectInfo]
    prefixes: list[bytes]  # CommonPrefixes, each ending in the delimiter
    next_token: str  # "" on the last page


class Node(NamedTuple):
    """What the kernel knows by one node id: one directory, or one version of one object."""

    id: int
    kind: Kind
    key: bytes  # the object's key; for a directory its prefix, which ends in "/" (b"" for the whole bucket)
    size: int  # bytes; of a symlink the length of its target where known, of a directory 0
    mtime_ns: int
    etag: str  # "" for a directory
    object_type: str = "Normal"
    storage_class: str = "Standard"


class Found(NamedTuple):
    """A node and for how long it may be taken as true."""

    node: Node
    fresh_for: float  # seconds left of our own validity; math.inf when it never ends; 0 when it must be asked again


class Absent(NamedTuple):
    """A name that does not exist, known for fresh_for more seconds."""

    fresh_for: float


class Version(NamedTuple):
    """One version of one object: the identity of every cached byte."""

    key: bytes
    etag: str
    size: int
