"""A small object in one file: its bytes, then a footer. One open and one read bring all of it."""

from __future__ import annotations

import contextlib
import os
import struct
import time

from fastcrc import crc64

from ossmount.data.disk.layout import WHOLE_SUFFIX, Label, path_of, seed_of
from ossmount.data.disk.pieces import Pieces
from ossmount.data.disk.writing import create, write_all

MAGIC = b"OSSMWHL1"
_HEAD = struct.Struct("<8sQQH")  # magic, size, checksum of the bytes, bytes of the label that follows
_TAIL = struct.Struct("<Q")  # checksum of head and label
FOOTER = _HEAD.size  # bytes behind the object's that load() needs room for


class Bad(Exception):
    """Bytes that do not verify."""


def save(root: str, name: bytes, label: bytes, size: int, pieces: Pieces) -> int:
    """Writes all of the object; the bytes written. Raises OSError, with nothing left behind."""
    head = _HEAD.pack(MAGIC, size, pieces.checksum(0, size, seed_of(name)), len(label)) + label
    footer = memoryview(head + _TAIL.pack(crc64.xz(head)))
    path = path_of(root, name, WHOLE_SUFFIX)
    file = create(path)
    try:
        write_all(file, [*pieces.views(0, size), footer], 0)
    except OSError:
        with contextlib.suppress(OSError):  # the first failure is the one to tell
            os.unlink(path)
        raise
    finally:
        os.close(file)
    return size + len(footer)


def load(root: str, name: bytes, size: int, buffer: memoryview, touch_after: float) -> memoryview | None:
    """The bytes of the object, in the buffer (of at least size + FOOTER bytes); None when it is not there.

    A file that is too short is being written, or its writer was killed: not there. Raises Bad and OSError.
    """
    try:
        file = os.open(path_of(root, name, WHOLE_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        length = size + FOOTER
        got = os.preadv(file, [buffer[:length]], 0)
        if got < length:
            return None
        touch(file, touch_after)
    finally:
        os.close(file)
    data = buffer[:size]
    if not verifies(buffer[size:length], size, crc64.xz(data, seed_of(name)) or 1):
        raise Bad
    return data


def verifies(footer: memoryview, size: int, found: int) -> bool:
    """Whether the first FOOTER bytes behind an object say that it has this size and this checksum."""
    magic, stored_size, checksum, _ = _HEAD.unpack(footer)
    return bool(magic == MAGIC and stored_size == size and checksum == found)


def label_of(file: int) -> tuple[Label, int] | None:
    """What lies in an open file, and its size in bytes; None where that cannot be told."""
    length = os.fstat(file).st_size
    # The footer ends the file, and its length is in it: looked for in what a footer can be at most.
    at = max(0, length - 4096)
    tail = os.pread(file, 4096, at)
    found = tail.rfind(MAGIC)
    if found < 0 or len(tail) - found < _HEAD.size + _TAIL.size:
        return None
    _, size, _, count = _HEAD.unpack_from(tail, found)
    end = found + _HEAD.size + count
    if at + found != size or len(tail) != end + _TAIL.size or _TAIL.unpack_from(tail, end)[0] != crc64.xz(tail[found:end]):
        return None
    return Label.unpack(tail[found + _HEAD.size : end]), size


def touch(file: int, after: float) -> None:
    """Notes that the file was used (its mtime), unless that was noted within the last `after` seconds."""
    now = time.time()
    if not now - after <= os.fstat(file).st_mtime <= now + after:
        with contextlib.suppress(OSError):  # a read-only disk: its cache is not evicted either
            os.utime(file)
