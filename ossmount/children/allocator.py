"""How the C library keeps memory that was given back to it: as little as it can."""

from __future__ import annotations

import ctypes
from typing import Final

# mallopt(3), malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

#: Bytes. Left alone, glibc raises both with the largest block that was freed: bodies of listings, and then never returns them.
_KEPT: Final = 256 << 10


def keep_little() -> None:
    """To be called before there are threads: glibc gives each of them a heap of its own, of which it gives nothing back.

    The interpreter lock lets one of them allocate at a time, so one heap is enough. Other C libraries keep their own ways.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        for option, value in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, _KEPT), (_M_MMAP_THRESHOLD, _KEPT)):
            set_option(option, value)
