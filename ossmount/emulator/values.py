"""What the parts of the embedded server hand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

#: Objects of these classes must be restored before they can be read.
ARCHIVED_CLASSES = frozenset({"Archive", "ColdArchive", "DeepColdArchive"})
#: Bytes of a body that are read and sent at once.
CHUNK = 256 << 10


class ObjectRecord(NamedTuple):
    """One object as the index knows it."""

    key: bytes
    size: int
    etag: str  # without quotes
    mtime: int  # seconds since the epoch: OSS has no finer time
    crc64: int | None  # None where it was never computed (plain folders)
    object_type: str = "Normal"  # Normal, Multipart, Appendable, Symlink
    storage_class: str = "Standard"
    headers: Mapping[str, str] = {}  # Content-Type and the like, and x-oss-meta-*, names in lower case
    blob: str = ""  # the file that holds the bytes; "" for a symlink
    target: bytes = b""  # of a symlink: the key it points to
    restored: bool = False  # an archived object that can be read


class Part(NamedTuple):
    """One part of a multipart upload."""

    number: int
    size: int
    etag: str
    crc64: int
    mtime: int
    blob: str


class Upload(NamedTuple):
    """A multipart upload that was begun and not finished."""

    id: str
    key: bytes
    started: int  # seconds since the epoch
    storage_class: str
    headers: Mapping[str, str]


class BucketInfo(NamedTuple):
    """What a bucket is, apart from its objects."""

    name: str
    created: int  # seconds since the epoch
    acl: str = "private"  # private, public-read, public-read-write
    storage_class: str = "Standard"


class Bucket(Protocol):
    """What reading and listing need of a bucket; all of it safe on any thread."""

    @property
    def info(self) -> BucketInfo: ...

    def find(self, key: bytes) -> ObjectRecord | None: ...

    def open(self, key: bytes) -> tuple[ObjectRecord, int] | None:
        """The record and a descriptor of the bytes that belong to it (-1 for a symlink); the caller closes it."""
        ...

    def cursor(self) -> Cursor: ...

    def stat(self) -> tuple[int, int, int]:
        """Bytes, objects, unfinished uploads."""
        ...


class Cursor(Protocol):
    """A walk over the keys of a bucket in byte order, for one listing."""

    def scan(self, prefix: bytes, start: bytes) -> Iterator[ObjectRecord]:
        """The objects with that prefix whose key is at least start."""
        ...
