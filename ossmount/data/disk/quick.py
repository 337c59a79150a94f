"""Small cached objects out of the kernel's page cache, on the event loop's thread: nothing here can wait for a disk.

openat2(RESOLVE_CACHED) finds a file only by names that are in memory, preadv2(RWF_NOWAIT) reads only bytes that are. What the
kernel has costs 30 microseconds of CPU this way and 100 by way of the reading process, in two processes; it has it when the
cache was filled or read lately by any process: the mount before this one, or one of another rank. Where it does not have it,
that is soon found out, and then tried only now and then.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import time
from collections.abc import Sequence
from typing import Final

from fastcrc import crc64

from ossmount.data.disk import whole
from ossmount.data.disk.layout import WHOLE, WHOLE_SUFFIX, path_of, seed_of
from ossmount.data.disk.pieces import Pieces

_OPENAT2: Final = 437  # the number of the system call, the same on every architecture that Linux got after 2019 and on x86
_AT_FDCWD: Final = -100
_RESOLVE_CACHED: Final = 0x20  # linux/openat2.h, Linux 5.12
_HOW: Final = struct.pack("=QQQ", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE_CACHED)
_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")
_RARELY: Final = 64  # after so many failures in a row only each 64th read is tried


class QuickReader:
    """Reads whole objects up to layout.WHOLE into the slab."""

    def __init__(self, slab: memoryview, touch_after: float) -> None:
        self._slab = slab
        self._touch_after = touch_after
        self._footer = memoryview(bytearray(whole.FOOTER))
        self._own = memoryview(mmap.mmap(-1, WHOLE + whole.FOOTER))  # taken as it is touched
        self._skip = 0  # reads that are not tried
        self._failures = 0  # in a row, _RARELY at most
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
        self._call.restype = ctypes.c_long

    def read(self, root: str, name: bytes, size: int) -> memoryview | None:
        """The object's bytes, verified, in memory of our own that the next call overwrites; None: somebody else is asked.

        That memory lies in the processor's caches, where a page of the slab is cold or must be zeroed first: half the time.
        """
        if self._is_skipped():
            return None
        whole_ = self._own[: size + whole.FOOTER]
        data, footer = whole_[:size], whole_[size:]
        loaded = self._load(root, name, size, [whole_]) and whole.verifies(footer, size, crc64.xz(data, seed_of(name)) or 1)
        self._tried(loaded)
        return data if loaded else None

    def load(self, root: str, name: bytes, size: int, targets: Sequence[tuple[int, int]]) -> bool:
        """Whether the object lies in the targets now, verified. If not, they may hold anything, and somebody else is asked."""
        if self._is_skipped():
            return False
        pieces = Pieces(self._slab, targets)
        views = [*pieces.views(0, size), self._footer]
        loaded = self._load(root, name, size, views)
        loaded = loaded and whole.verifies(self._footer, size, pieces.checksum(0, size, seed_of(name)))
        self._tried(loaded)
        return loaded

    def _is_skipped(self) -> bool:
        if self._skip:
            self._skip -= 1
            return True
        return False

    def _tried(self, loaded: bool) -> None:
        self._failures = 0 if loaded else min(_RARELY, 2 * self._failures + 1)
        self._skip = self._failures - 1 if self._failures > 1 else 0

    def _load(self, root: str, name: bytes, size: int, views: Sequence[memoryview]) -> bool:
        """Whether all bytes of the object's file, up to its footer, lie in the views now."""
        file: int = self._call(_OPENAT2, _AT_FDCWD, os.fsencode(path_of(root, name, WHOLE_SUFFIX)), _HOW, len(_HOW))
        if file < 0:
            if ctypes.get_errno() == errno.ENOSYS:
                self._failures = _RARELY
            return False
        try:
            if len(views) > _IOV_MAX or not self._is_recent(file):
                return False
            return os.preadv(file, views, 0, os.RWF_NOWAIT) >= size + whole.FOOTER
        except OSError:  # EAGAIN: not in memory; the reading process meets every other failure as well, and reports it
            return False
        finally:
            os.close(file)

    def _is_recent(self, file: int) -> bool:
        """Whether the last use need not be noted: that is for the process that may wait."""
        return abs(time.time() - os.fstat(file).st_mtime) <= self._touch_after
