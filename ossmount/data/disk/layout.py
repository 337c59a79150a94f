"""How cached objects lie in a cache directory.

    DIR/ossmount-1/                one user's, mode 0700
        lock                       held by the process that counts and evicts
        usage                      what it has counted, as JSON
        users                      each process that reads and writes here holds a lock on a byte of it
        written                    grows by one byte for each MiB that any process has written since
        3f/3f9a….whole             an object of up to 1 MiB: its bytes, then a footer with their checksum
        3f/3f07….data              any other object: its bytes at their own offsets, the rest a hole
        3f/3f07….sums              a header, then the checksum of each 4 KiB block of it, 0 where nothing is cached
        3f/3f07….pin               the object is not to be evicted; a hole as long as the object

The name is a hash of the store (endpoint and bucket), the key, the ETag and the size, so that bytes of two versions never
meet. Every checksum is a CRC-64 that begins with the name: a file that got the name of another one does not verify. Whoever
writes, writes what all others would write there, so that processes need no locks, and nothing is synced: what a crash tears
does not verify, and what does not verify is not there.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from ossmount.model import Version

BLOCK = 4096  # bytes with a checksum of their own
WHOLE = 1 << 20  # bytes; objects up to here that are fetched whole are stored in one file
ROOT = "ossmount-1"  # the number is the version of this layout
WHOLE_SUFFIX, DATA_SUFFIX, SUMS_SUFFIX = ".whole", ".data", ".sums"
PIN_SUFFIX = ".pin"
SUFFIXES = (WHOLE_SUFFIX, SUMS_SUFFIX, DATA_SUFFIX)  # of bytes; removed in this order: sums without data would look like damage

_LENGTHS = struct.Struct("<HH")


class Label(NamedTuple):
    """What a cached object is, for people: it is stored beside the bytes, and never looked at when they are read."""

    store: str
    key: bytes
    etag: str

    def pack(self) -> bytes:
        store, etag = self.store.encode(), self.etag.encode()
        return _LENGTHS.pack(len(store), len(self.key)) + store + self.key + etag

    @classmethod
    def unpack(cls, data: bytes) -> Label:
        """Raises ValueError or struct.error for what pack() has not made."""
        store, key = _LENGTHS.unpack_from(data)
        first, second = _LENGTHS.size + store, _LENGTHS.size + store + key
        return cls(data[_LENGTHS.size : first].decode(), data[first:second], data[second:].decode())


def name_of(store: str, version: Version) -> bytes:
    """The name under which a version is cached (20 bytes). `store`: endpoint and bucket."""
    head = b"%s\0%s\0%d\0" % (store.encode(), version.etag.encode(), version.size)
    return hashlib.sha256(head + version.key).digest()[:20]


def seed_of(name: bytes) -> int:
    """What the checksums of an object begin with."""
    return int.from_bytes(name[:8], "little")


def path_of(root: str, name: bytes, suffix: str) -> str:
    text = name.hex()
    return f"{root}/{text[:2]}/{text}{suffix}"
