"""Any part of a large object: its bytes at their own offsets in one file, the checksum of each block in another."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from fastcrc import crc64

from ossmount.data.disk.layout import BLOCK, DATA_SUFFIX, SUMS_SUFFIX, Label, path_of, seed_of
from ossmount.data.disk.pieces import Pieces, block_sums
from ossmount.data.disk.whole import touch
from ossmount.data.disk.writing import create, write_all

MAGIC = b"OSSMSUM1"
HEADER = 4096  # bytes before the first checksum
CHUNK = 1 << 20  # bytes that are read and verified at once
_HEAD = struct.Struct("<8sQH")  # magic, size of the object, bytes of the label that follows
_SUM = struct.Struct("<Q")

Range = tuple[int, int]  # first byte, byte behind the last


class Loaded(NamedTuple):
    """What came of a load."""

    missing: list[Range]  # in the object, in order: all else lies in the pieces, verified
    bad: int  # blocks that did not verify; they are among the missing


def save(root: str, name: bytes, label: bytes, size: int, start: int, pieces: Pieces) -> int:
    """Writes the whole blocks of the pieces, which begin at `start` of the object; the bytes written. Raises OSError."""
    end = start + pieces.length
    first = -(-start // BLOCK) * BLOCK
    last = end if end == size else end // BLOCK * BLOCK
    if first >= last:
        return 0
    data = create(path_of(root, name, DATA_SUFFIX))
    try:
        write_all(data, pieces.views(first - start, last - first), first)
        if os.fstat(data).st_size < size:
            os.ftruncate(data, size)
    finally:
        os.close(data)
    # Only now: a checksum without its block would be taken for damage.
    sums = pieces.block_sums(first - start, last - first, seed_of(name))
    packed = struct.pack(f"<{len(sums)}Q", *sums)
    file = create(path_of(root, name, SUMS_SUFFIX))
    try:
        if os.fstat(file).st_size < HEADER:
            head = _HEAD.pack(MAGIC, size, len(label)) + label
            write_all(file, [memoryview((head + _SUM.pack(crc64.xz(head))).ljust(HEADER, b"\0"))], 0)
        write_all(file, [memoryview(packed)], HEADER + first // BLOCK * _SUM.size)
    finally:
        os.close(file)
    return last - first + len(packed)


def load(
    root: str,
    name: bytes,
    size: int,
    start: int,
    pieces: Pieces,
    buffer: memoryview,
    touch_after: float,
    progress: Callable[[int], None] | None = None,
) -> Loaded:
    """Fills the pieces, which begin at `start` of the object, with what is cached and verifies. Raises OSError.

    The buffer takes at least CHUNK bytes: no byte reaches the pieces before it is verified. progress is called with the
    bytes that are there from the start on, where that is not all.
    """
    end = start + pieces.length
    try:
        data = os.open(path_of(root, name, DATA_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Loaded([(start, end)], 0)
    try:
        first = start // BLOCK
        expected = _sums(root, name, first, -(-end // BLOCK) - first, touch_after)
        loading = _Loading(seed_of(name), size, start, pieces)
        if any(expected):
            for at in range(0, len(expected), CHUNK // BLOCK):
                loading.chunk(data, (first + at) * BLOCK, expected[at : at + CHUNK // BLOCK], buffer)
                if progress is not None and not loading.missing and loading.reached < end:
                    progress(loading.reached - start)
        else:
            loading.miss(start, end)
        return Loaded(loading.missing, loading.bad)
    finally:
        os.close(data)


class _Loading:
    """One load, chunk by chunk."""

    def __init__(self, seed: int, size: int, start: int, pieces: Pieces) -> None:
        self._seed = seed
        self._size = size
        self._start = start
        self._end = start + pieces.length
        self._pieces = pieces
        self.missing: list[Range] = []
        self.bad = 0
        self.reached = start

    def chunk(self, file: int, at: int, expected: tuple[int, ...], buffer: memoryview) -> None:
        """The blocks from `at` of the object."""
        length = min(len(expected) * BLOCK, self._size - at)
        if not any(expected):
            self.miss(at, at + length)
            return
        got = os.preadv(file, [buffer[:length]], at)
        found = tuple(block_sums(buffer[:got], self._seed))
        if found == expected:
            self._take(at, buffer[:length])
            return
        found += (0,) * (len(expected) - len(found))
        for number, (wanted, there) in enumerate(zip(expected, found, strict=True)):
            place = number * BLOCK
            stop = min(place + BLOCK, length)
            if wanted and wanted == there:
                self._take(at + place, buffer[place:stop])
            else:
                self.bad += wanted != 0
                self.miss(at + place, at + stop)

    def _take(self, at: int, data: memoryview) -> None:
        first, last = max(at, self._start), min(at + len(data), self._end)
        self._pieces.fill(first - self._start, data[first - at : last - at])
        self.reached = last

    def miss(self, first: int, last: int) -> None:
        first, last = max(first, self._start), min(last, self._end)
        if self.missing and self.missing[-1][1] == first:
            first = self.missing.pop()[0]
        self.missing.append((first, last))


def _sums(root: str, name: bytes, first: int, count: int, touch_after: float) -> tuple[int, ...]:
    """The checksums of `count` blocks; 0 where nothing is cached."""
    try:
        file = os.open(path_of(root, name, SUMS_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return (0,) * count
    try:
        packed = os.pread(file, count * _SUM.size, HEADER + first * _SUM.size)
        touch(file, touch_after)
    finally:
        os.close(file)
    return struct.unpack(f"<{count}Q", packed.ljust(count * _SUM.size, b"\0"))


def label_of(file: int) -> tuple[Label, int] | None:
    """Of an open file of checksums: what it belongs to, and the object's size in bytes; None where that cannot be told."""
    head = os.pread(file, HEADER, 0)
    if len(head) < HEADER:
        return None
    magic, size, count = _HEAD.unpack_from(head)
    end = _HEAD.size + count
    if magic != MAGIC or end + _SUM.size > HEADER or _SUM.unpack_from(head, end)[0] != crc64.xz(head[:end]):
        return None
    return Label.unpack(head[_HEAD.size : end]), size


def forget_bad(root: str, name: bytes, numbers: list[int]) -> None:
    """Marks blocks as not cached."""
    with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
        file = os.open(path_of(root, name, SUMS_SUFFIX), os.O_RDWR | os.O_CLOEXEC)
        try:
            for number in numbers:
                os.pwrite(file, bytes(_SUM.size), HEADER + number * _SUM.size)
        finally:
            os.close(file)
