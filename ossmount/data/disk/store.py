"""Loading and saving ranges of objects, in whichever form they lie on the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from ossmount.data.disk import sparse, whole
from ossmount.data.disk.layout import SUFFIXES, WHOLE, WHOLE_SUFFIX, path_of
from ossmount.data.disk.pieces import Pieces
from ossmount.data.disk.sparse import Loaded

BUFFER = max(WHOLE + whole.FOOTER, sparse.CHUNK)  # bytes of the buffer that load() needs
PART = 128 << 10  # bytes; of objects up to here nothing but the whole is stored: they are always fetched whole


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
    """Fills the pieces, which begin at `start` of an object of `size` bytes, with what is cached of them and verifies.

    Raises OSError when the disk fails.
    """
    if size <= WHOLE:
        try:
            data = whole.load(root, name, size, buffer, touch_after)
        except whole.Bad:
            with contextlib.suppress(OSError):  # a read-only disk; it is a miss in either case
                os.unlink(path_of(root, name, WHOLE_SUFFIX))
            return Loaded([(start, start + pieces.length)], 1)
        if data is not None:
            pieces.fill(0, data[start : start + pieces.length])
            return Loaded([], 0)
        if size <= PART:
            return Loaded([(start, start + pieces.length)], 0)
    return sparse.load(root, name, size, start, pieces, buffer, touch_after, progress)


def save(root: str, name: bytes, label: bytes, size: int, start: int, pieces: Pieces) -> int:
    """Stores the pieces, which begin at `start` of an object of `size` bytes; the bytes written. Raises OSError."""
    if size <= WHOLE and pieces.length == size:
        return whole.save(root, name, label, size, pieces)
    if size <= PART:
        return 0
    return sparse.save(root, name, label, size, start, pieces)


def discard(root: str, name: bytes) -> None:
    """Removes what is cached of an object; a pin of it stays. Raises OSError."""
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path_of(root, name, suffix))
