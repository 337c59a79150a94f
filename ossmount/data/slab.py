"""The one piece of memory that bodies are received into and replies are sent from."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable

from ossmount.data.blocks import BLOCK


class Slab:
    """`size` bytes of shared memory (a memfd), mapped once; fetch processes map `fd` themselves.

    Memory is taken from the machine when a byte of it is first written, and kept until it is given back: resident memory grows
    to `size` and no further. Sizes are rounded down to whole blocks of 4 KiB.
    """

    def __init__(self, size: int) -> None:
        self.size = size // BLOCK * BLOCK
        if self.size <= 0:
            raise ValueError(f"a slab of {size} bytes: at least {BLOCK} are needed")
        self.fd = os.memfd_create("ossmount-slab", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, self.size)
            self._map = mmap.mmap(self.fd, self.size)
            self.view = memoryview(self._map)
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def resident(self) -> int:
        """Bytes of memory that it takes from the machine now."""
        return os.fstat(self.fd).st_blocks * 512

    def give_back(self, offset: int, length: int) -> None:
        """The machine may have these blocks until they are written again; nobody needs what they hold.

        It takes 0.1 to 0.3 ms for each MiB, and the fetch processes' mappings lose them too.
        """
        self._map.madvise(mmap.MADV_REMOVE, offset, length)

    def close(self) -> None:
        """Gives the memory back, as soon as the last view of it is gone."""
        if self.fd < 0:
            return
        self.view.release()
        os.close(self.fd)
        self.fd = -1

    def __repr__(self) -> str:
        return f"<Slab {self.size} bytes, fd {self.fd}>"


def cut(pieces: Iterable[tuple[int, int]], at: int, start: int, end: int) -> list[tuple[int, int]]:
    """Of the pieces (offset in the slab, bytes) that hold an object from `at` on, in order, those of its start to end.

    PageCache.views() does the same for the hot path, where each answer would pay for the list.
    """
    found: list[tuple[int, int]] = []
    for offset, length in pieces:
        first, last = max(at, start), min(at + length, end)
        if first < last:
            found.append((offset + first - at, last - first))
        at += length
    return found
