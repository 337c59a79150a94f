"""The one piece of memory that bodies are received into and replies are sent from."""

from __future__ import annotations

import mmap
import os

from ossmount.data.blocks import BLOCK


class Slab:
    """`size` bytes of shared memory (a memfd), mapped once; fetch processes map `fd` themselves.

    Memory is taken from the machine when a byte of it is first written, and kept: resident memory grows to `size` and no
    further. Sizes are rounded down to whole blocks of 4 KiB.
    """

    def __init__(self, size: int) -> None:
        self.size = size // BLOCK * BLOCK
        if self.size <= 0:
            raise ValueError(f"a slab of {size} bytes: at least {BLOCK} are needed")
        self.fd = os.memfd_create("ossmount-slab", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, self.size)
            self.view = memoryview(mmap.mmap(self.fd, self.size))
        except BaseException:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """Gives the memory back, as soon as the last view of it is gone."""
        if self.fd < 0:
            return
        self.view.release()
        os.close(self.fd)
        self.fd = -1

    def __repr__(self) -> str:
        return f"<Slab {self.size} bytes, fd {self.fd}>"
