"""Snapshots: the listing of a source as one compressed file, which another machine takes over without a LIST.

    magic      8 bytes
    length     4 bytes, of the header
    header     JSON: bucket, prefix (hex), endpoint, time, keys
    body       a zlib stream of entries in key order, each: ENTRY, the rest of the key, ETag, type, storage class
    digest     32 bytes, SHA-256 of everything before it

Keys are stored without what they share with the key before. One million keys of 25 bytes with MD5 ETags: see tests.
A file is checked as a whole before the first entry is believed; what it holds is then merged as pages of a listing are.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ossmount.metadata.keys import KEY_MAX
from ossmount.model import ObjectInfo

MAGIC = b"ossmeta\x01"
_LENGTH = struct.Struct("<I")
_ENTRY = struct.Struct("<HHqqBBB")  # shared, rest (bytes of the key); size; mtime_ns; lengths of ETag, type, class
_PIECE = 1 << 20  # bytes
_LEVEL = 3  # 1: 15 % larger; 6: three times as long for 3 % less
_LONGEST_HEADER = 64 << 10
LONGEST_BEGINNING = len(MAGIC) + _LENGTH.size + _LONGEST_HEADER  # bytes: up to the end of the header
_DIGEST = 32
_STANDARD = ("Normal", "Standard")


class SnapshotError(Exception):
    """The file is no snapshot, damaged, or of another source. The message says which, and of what it is."""


class Header(NamedTuple):
    """What a snapshot is of."""

    bucket: str
    prefix: bytes
    endpoint: str  # with its scheme
    time: float  # when the oldest part of it was listed, seconds since the epoch
    keys: int = 0

    def to_json(self) -> bytes:
        return json.dumps({**self._asdict(), "prefix": self.prefix.hex()}).encode()


class File(NamedTuple):
    """A snapshot on this machine. str() is what messages call it."""

    path: Path
    name: str = ""  # of the place that it was received from; "" for its path

    def __str__(self) -> str:
        return self.name or str(self.path)


def write(path: Path, header: Header, objects: Iterable[ObjectInfo]) -> Header:
    """Writes a whole snapshot or nothing; returns the header with the number of keys. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "w+b") as file:
            header = _write(file, header, objects)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return header


def _write(file: BinaryIO, header: Header, objects: Iterable[ObjectInfo]) -> Header:
    # The number of keys is known at the end: its place is kept free by the longest number there is.
    room = len(header._replace(keys=10**18).to_json())
    file.write(MAGIC + _LENGTH.pack(room) + b" " * room)
    packer = zlib.compressobj(_LEVEL)
    count = 0
    pending = bytearray()
    for entry in _packed(objects):
        count += 1
        pending += entry
        if len(pending) >= _PIECE:
            file.write(packer.compress(pending))
            pending.clear()
    file.write(packer.compress(pending) + packer.flush())
    header = header._replace(keys=count)
    file.seek(len(MAGIC) + _LENGTH.size)
    file.write(header.to_json().ljust(room))
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.write(digest.digest())
    return header


def _packed(objects: Iterable[ObjectInfo]) -> Iterator[bytes]:
    before = b""
    for key, size, mtime_ns, etag, object_type, storage_class, _ in objects:
        shared = _shared(before, key)
        kind = b"" if object_type == _STANDARD[0] else object_type.encode()[:255]
        place = b"" if storage_class == _STANDARD[1] else storage_class.encode()[:255]
        tag = etag.encode()[:255]
        rest = key[shared:]
        yield _ENTRY.pack(shared, len(rest), size, mtime_ns, len(tag), len(kind), len(place)) + rest + tag + kind + place
        before = key


def _shared(one: bytes, other: bytes) -> int:
    """How many first bytes are the same."""
    size = min(len(one), len(other))
    differ = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return size - (differ.bit_length() + 7) // 8


def read_header(file: File) -> Header:
    """What a file says it is of, without looking at the rest. Raises SnapshotError."""
    try:
        with open(file.path, "rb") as stream:
            return header_of(str(file), stream)
    except OSError as error:
        raise SnapshotError(f"{file} cannot be read: {error.strerror}") from None


def header_of(name: str, stream: BinaryIO) -> Header:
    """The same from the first LONGEST_BEGINNING bytes. Raises SnapshotError."""
    start = stream.read(len(MAGIC) + _LENGTH.size)
    if len(start) < len(MAGIC) + _LENGTH.size or not start.startswith(MAGIC[:-1]):
        raise SnapshotError(f"{name} is no metadata snapshot of ossmount")
    if not start.startswith(MAGIC):
        raise SnapshotError(f"{name} is a snapshot of another version of ossmount ({start[7]}): export it again")
    (length,) = _LENGTH.unpack_from(start, len(MAGIC))
    try:
        if length > _LONGEST_HEADER:
            raise ValueError
        value = json.loads(stream.read(length))
        header = Header(
            str(value["bucket"]),
            bytes.fromhex(value["prefix"]),
            str(value["endpoint"]),
            float(value["time"]),
            int(value["keys"]),
        )
    except (ValueError, KeyError, TypeError):
        raise SnapshotError(f"{name} is damaged: its header cannot be read") from None
    return header


def check(file: File) -> Header:
    """The header of a file that is whole. Raises SnapshotError."""
    header = read_header(file)
    digest = hashlib.sha256()
    with open(file.path, "rb") as stream:
        left = os.fstat(stream.fileno()).st_size - _DIGEST
        while left > 0 and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
        if stream.read() != digest.digest():
            raise SnapshotError(f"{file} is damaged or cut off: its checksum is wrong; export or copy it again")
    return header


def read(file: File, batch: int) -> Iterator[list[ObjectInfo]]:
    """The objects of a file that check() found whole, in key order, `batch` at a time. Raises SnapshotError."""
    with open(file.path, "rb") as stream:
        header_of(str(file), stream)
        end = os.fstat(stream.fileno()).st_size - _DIGEST
        unpacker = zlib.decompressobj()
        parser = _Parser()
        found: list[ObjectInfo] = []
        try:
            while not unpacker.eof:
                piece = unpacker.unconsumed_tail or stream.read(min(_PIECE, end - stream.tell()))
                if not piece:
                    raise ValueError("it ends too early")
                for info in parser.feed(unpacker.decompress(piece, _PIECE)):  # no more at once, whatever it expands to
                    found.append(info)
                    if len(found) == batch:
                        yield found
                        found = []
            parser.finish()
        except (zlib.error, ValueError, struct.error) as error:
            raise SnapshotError(f"{file} is damaged: {error}") from None
        if found:
            yield found


class _Parser:
    """Entries from pieces of the uncompressed body."""

    def __init__(self) -> None:
        self._rest = b""
        self._key = b""

    def feed(self, data: bytes) -> Iterator[ObjectInfo]:
        data = self._rest + data
        at, end = 0, len(data)
        key = self._key
        while at + _ENTRY.size <= end:
            shared, rest, size, mtime_ns, tag, kind, place = _ENTRY.unpack_from(data, at)
            start = at + _ENTRY.size
            stop = start + rest + tag + kind + place
            if stop > end:
                break
            before, key = key, key[:shared] + data[start : start + rest]
            if key <= before or len(key) > KEY_MAX or size < 0:
                raise ValueError(f"the entry {key[:80]!r} cannot be")
            start += rest
            etag = data[start : start + tag].decode()
            object_type = data[start + tag : start + tag + kind].decode() or _STANDARD[0] if kind else _STANDARD[0]
            storage_class = data[stop - place : stop].decode() if place else _STANDARD[1]
            yield ObjectInfo(key, size, mtime_ns, etag, object_type, storage_class)
            at = stop
        self._rest, self._key = data[at:], key

    def finish(self) -> None:
        if self._rest:
            raise ValueError("it ends in the middle of an entry")
