"""Whole copies of large objects, which somebody may read without us: every byte is there, and verified.

That a file was verified is written down behind its label (a mark): with which boot, inode, size and times. Whatever changes the
file or its inode afterwards changes its ctime, and the mark does not hold any more; nor does it after the next boot, since a
power failure may lose what was verified in memory. Before the mark is written the whole is also compared with the checksum that
OSS has of the object; that one is kept in the mark, for the next boots. A reader keeps a shared lock on the file, so that
eviction leaves it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from typing import NamedTuple

from fastcrc import crc64

from ossmount.data.disk import sparse
from ossmount.data.disk.layout import BLOCK, DATA_SUFFIX, SUMS_SUFFIX, path_of, seed_of
from ossmount.data.disk.pieces import block_sums
from ossmount.data.disk.whole import touch

_MARK = struct.Struct("<8s36sQQQqq?Q")  # magic, boot, device, inode, size, mtime, ctime (both in ns), has a CRC-64, CRC-64
_SUM = struct.Struct("<Q")
_MAGIC = b"OSSMVRF2"
_MARK_SIZE = _MARK.size + _SUM.size
_MARK_AT = sparse.HEADER - _MARK_SIZE  # in the file of checksums; a label (names are at most 1,023 bytes) ends long before
_STEP = sparse.CHUNK // BLOCK  # checksums that are compared at once
NO_CRC64 = -1  # OSS has none of the object


class Checked(NamedTuple):
    """What came of checking a file."""

    missing: int  # bytes that are not there, at least: the last block may be short
    bad: int  # blocks that did not verify; they count as missing from now on
    whole: bool  # it has the mark
    unproved: bool = False  # everything is there: it is to be checked once more, with the object's CRC-64


def boot() -> bytes:
    """What tells this boot of the machine from all others (36 bytes)."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(36)


def open_copy(root: str, name: bytes, size: int, touch_after: float) -> int | None:
    """A descriptor of the file that has the bytes of an object and nothing else; None unless it has the mark.

    While it, or a copy of it, is open, the file is not evicted. Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        sums, data = _files(stack, root, name, os.O_RDONLY)
        if data < 0:
            return None
        try:
            fcntl.flock(data, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # it is being evicted
            return None
        found = os.fstat(data)
        if not found.st_nlink or not _holds(os.pread(sums, _MARK_SIZE, _MARK_AT), name, found, size):
            return None
        touch(sums, touch_after)
        return os.dup(data)


def check(root: str, name: bytes, size: int, buffer: memoryview, crc: int | None = NO_CRC64) -> Checked:
    """Looks whether everything is there; if so, verifies it and writes the mark. Raises OSError.

    buffer: of CHUNK bytes. crc: the object's CRC-64, NO_CRC64, or None: not known, unless an earlier mark has it. A copy whose
    blocks verify, but not the whole, was put together of bytes that are not the object's: all of it is dropped.
    """
    with contextlib.ExitStack() as stack:
        sums, data = _files(stack, root, name, os.O_RDWR)
        if data < 0:
            return Checked(size, 0, False)
        before = os.fstat(data)
        if before.st_size != size:
            return Checked(max(1, size - before.st_size), 0, False)
        mark = os.pread(sums, _MARK_SIZE, _MARK_AT)
        if _holds(mark, name, before, size):
            return Checked(0, 0, True)
        missing = _missing(sums, size)
        if missing:
            return Checked((missing - 1) * BLOCK + 1, 0, False)
        crc = _crc_in(mark, name) if crc is None else crc
        if crc is None:
            return Checked(0, 0, False, unproved=True)
        bad, found = _verify(sums, data, name, size, buffer)
        if not bad and crc not in (found, NO_CRC64):
            bad = list(range(-(-size // BLOCK)))
        if bad:
            sparse.forget_bad(root, name, bad)
            return Checked((len(bad) - 1) * BLOCK + 1, len(bad), False)
        mark = _mark(name, before, size, crc)
        # whoever wrote to it meanwhile wrote what was there, but after all that was not verified
        if mark != _mark(name, os.fstat(data), size, crc):
            return Checked(0, 0, False)
        os.pwrite(sums, mark, _MARK_AT)
        return Checked(0, 0, True)


def is_read(path: str) -> bool:
    """Whether somebody reads this file of bytes without us. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _files(stack: contextlib.ExitStack, root: str, name: bytes, flags: int) -> tuple[int, int]:
    """Checksums, opened with the flags, and bytes; -1 where something of it is not there."""
    found = []
    for suffix, how in ((SUMS_SUFFIX, flags), (DATA_SUFFIX, os.O_RDONLY)):
        try:
            file = os.open(path_of(root, name, suffix), how | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1, -1
        stack.callback(os.close, file)
        found.append(file)
    return found[0], found[1]


def _mark(name: bytes, found: os.stat_result, size: int, crc: int) -> bytes:
    """The mark that the file has if it was verified as it is now; begins with its name, so that it fits no other."""
    if found.st_size != size:
        return b""
    of_file = (boot(), found.st_dev, found.st_ino, size, found.st_mtime_ns, found.st_ctime_ns)
    mark = _MARK.pack(_MAGIC, *of_file, crc != NO_CRC64, max(crc, 0))
    return mark + _SUM.pack(crc64.xz(mark, seed_of(name)))


def _crc_in(mark: bytes, name: bytes) -> int | None:
    """The object's CRC-64 from a mark, which may be one of another boot; None when it is none."""
    if len(mark) != _MARK_SIZE or mark[_MARK.size :] != _SUM.pack(crc64.xz(mark[: _MARK.size], seed_of(name))):
        return None
    magic, *_, has_crc, crc = _MARK.unpack_from(mark)
    return None if magic != _MAGIC else crc if has_crc else NO_CRC64


def _holds(mark: bytes, name: bytes, found: os.stat_result, size: int) -> bool:
    crc = _crc_in(mark, name)
    return crc is not None and mark == _mark(name, found, size, crc)


def _missing(sums: int, size: int) -> int:
    """Blocks without a checksum."""
    blocks = -(-size // BLOCK)
    missing = 0
    for first in range(0, blocks, 64 * _STEP):
        count = min(64 * _STEP, blocks - first)
        packed = os.pread(sums, count * 8, sparse.HEADER + first * 8).ljust(count * 8, b"\0")
        missing += memoryview(packed).cast("Q").tolist().count(0)
    return missing


def _verify(sums: int, data: int, name: bytes, size: int, buffer: memoryview) -> tuple[list[int], int]:
    """The blocks that do not verify, and the CRC-64 of everything."""
    blocks, seed = -(-size // BLOCK), seed_of(name)
    bad: list[int] = []
    crc = 0
    for first in range(0, blocks, _STEP):
        count = min(_STEP, blocks - first)
        length = min(count * BLOCK, size - first * BLOCK)
        packed = os.pread(sums, count * 8, sparse.HEADER + first * 8).ljust(count * 8, b"\0")
        got = os.preadv(data, [buffer[:length]], first * BLOCK)
        found = block_sums(buffer[:got], seed)
        crc = crc64.xz(buffer[:got], crc)
        expected = list(struct.unpack(f"<{count}Q", packed))
        if found != expected:
            found += [0] * (count - len(found))
            bad += [first + at for at in range(count) if not expected[at] or found[at] != expected[at]]
    return bad, crc
