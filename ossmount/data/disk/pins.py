"""Pins: objects that are never evicted, however long nobody uses them.

A pin is a file of its own beside the object's, all of it a hole: it survives restarts, every mount of the folder obeys it,
and whoever counts the folder counts it. It may be there before the bytes are.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct

from ossmount.data.disk import whole
from ossmount.data.disk.layout import BLOCK, PIN_SUFFIX, SUMS_SUFFIX, WHOLE_SUFFIX, path_of
from ossmount.data.disk.sparse import HEADER
from ossmount.data.disk.writing import create

_SUMS = 1 << 17  # checksums that are looked at once


class State(enum.IntEnum):
    """What came of pinning an object, or of looking at it."""

    KEPT = 0  # pinned, and all of it is cached
    LACKING = 1  # pinned, and not all of it is cached yet
    NO_ROOM = 2  # not pinned: it does not fit beside what is pinned
    FAILED = 3  # the folder cannot be written, or is not in use now


def cost(size: int) -> int:
    """Bytes of disk that an object takes at most: its own, their checksums, and what is rounded up."""
    return size + size // BLOCK * 8 + 3 * BLOCK


def is_pinned(root: str, name: bytes) -> bool:
    return os.path.exists(path_of(root, name, PIN_SUFFIX))


def pin(root: str, name: bytes, size: int) -> None:
    """Raises OSError."""
    file = create(path_of(root, name, PIN_SUFFIX))
    try:
        os.ftruncate(file, size)
    finally:
        os.close(file)


def unpin(root: str, name: bytes) -> bool:
    """Whether it was pinned. Raises OSError."""
    try:
        os.unlink(path_of(root, name, PIN_SUFFIX))
    except FileNotFoundError:
        return False
    return True


def is_complete(root: str, name: bytes, size: int) -> bool:
    """Whether all of an object is cached, as far as can be told without reading it. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path_of(root, name, WHOLE_SUFFIX)).st_size >= size + whole.FOOTER:
            return True
    with contextlib.suppress(FileNotFoundError):
        file = os.open(path_of(root, name, SUMS_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _all_there(file, -(-size // BLOCK))
        finally:
            os.close(file)
    return False


def _all_there(sums: int, blocks: int) -> bool:
    for first in range(0, blocks, _SUMS):
        count = min(_SUMS, blocks - first)
        packed = os.pread(sums, count * 8, HEADER + first * 8)
        if len(packed) < count * 8 or 0 in struct.unpack(f"<{count}Q", packed):
            return False
    return True
