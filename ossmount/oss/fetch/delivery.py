"""Delivery into the kernel's page cache: FUSE_NOTIFY_STORE, written by the fetch process that holds the bytes.

The daemon lends a device of its connection (cloned, see ossmount.channel.kernel_channel.lending) over the control socket
and then names node, size and the pieces of the slab. A store may have to wait, uninterruptibly, for the lock of a folio
that a READ in flight holds. So the daemon must be able to answer each READ of a node that is being stored from the slab,
without the fetch processes, until it hears that the store is done.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from bisect import insort
from collections import deque
from collections.abc import Sequence
from typing import Final

_STORE: Final = 4  # FUSE_NOTIFY_STORE (linux/fuse.h)
#: fuse_out_header (len, error: the code of the notification, unique: 0), fuse_notify_store_out (nodeid, offset, size, padding)
_HEAD: Final = struct.Struct("=IiQQQII")
_IOV_MAX: Final = 1024
#: First bytes of answers that the latency is taken from.
_SAMPLES: Final = 128
#: Requests under way up to which an answer tells how far away the store is; behind more it may have waited for a core.
_QUIET: Final = 8
#: Seconds for which such answers are all that counts.
_TRUSTED: Final = 60.0


class Delivery:
    """The lent device of a fetch process."""

    def __init__(self, slab: memoryview) -> None:
        self._slab = slab
        self._device = -1
        self._guard = -1

    def lend(self, descriptors: Sequence[int]) -> None:
        """Takes over the device and the guard, a pipe that tells by its end that nobody stores any more."""
        self.revoke()
        self._device, self._guard = descriptors

    def revoke(self) -> None:
        for descriptor in (self._device, self._guard):
            if descriptor >= 0:
                os.close(descriptor)
        self._device = self._guard = -1

    def store(self, node: int, size: int, targets: Sequence[tuple[int, int]]) -> int:
        """Stores a whole file; an errno, 0 when done. ENOENT is ordinary: the kernel does not know the node (any more)."""
        if self._device < 0:
            return errno.ENODEV
        slab = self._slab
        pieces = [slab[offset : offset + length] for offset, length in targets]
        if len(pieces) >= _IOV_MAX:
            return errno.E2BIG
        try:
            os.writev(self._device, [_HEAD.pack(_HEAD.size + size, _STORE, 0, node, 0, size, 0), *pieces])
        except OSError as failure:
            return failure.errno or errno.EIO
        return 0


class Latency:
    """Seconds from a request on a standing connection to the first byte of its answer.

    Of the last answers the quickest: on a busy machine the others wait for a core. With ten runnable processes for each
    core and nothing between client and store the lower quartile was 126 ms. And of answers to few requests at a time:
    64 files fetched ahead, as a trial, made a store on the same machine seem 4 ms away, which seemed to be worth fetching
    ahead for, and so on.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._since = 0
        self._quiet = -math.inf  # when there was an answer to one of few requests

    def add(self, seconds: float, busy: int, now: float) -> float | None:
        """Takes one, of `busy` requests under way; every eighth time the new estimate."""
        if busy <= _QUIET:
            self._quiet = now
        elif now - self._quiet < _TRUSTED:
            return None
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        if len(self._recent) > _SAMPLES:
            self._sorted.remove(self._recent.popleft())
        self._since += 1
        if self._since < 8:
            return None
        self._since = 0
        return self._sorted[0]
