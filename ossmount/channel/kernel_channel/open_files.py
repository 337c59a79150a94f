"""Which files the kernel has open, and how: a table that outlives the daemon.

An inode is read through the kernel's page cache of the mount, or from a backing file: while it is open in one way, an open in
the other one fails (EIO). So every OPEN must be answered as those before it whose RELEASE has not come, also by another
daemon. The table lies behind the journal of sent-again requests, in the memfd that the keeper holds.

Killed at any instruction, a daemon leaves a table that holds: an open is written down before it is answered, with the number of
its request, and crossed out before its RELEASE is answered. What was not answered comes again, with the same number. The one
case in which it does not (the reader is killed before the next daemon takes its OPEN) leaves an entry too many, and its inode
open in the way that it is.
"""

from __future__ import annotations

import mmap
import os
from struct import Struct
from typing import NamedTuple

from ossmount.channel.kernel_channel.protocol import UNIQUE_RESEND

OFFSET = 128 << 10  # bytes before it in the memfd; the journal takes half of them
ENTRIES = 1024  # at first; it doubles
CACHED = 0  # the backing number of a file that is read through the kernel's page cache of the mount
_BEGIN = 64  # bytes before the first entry
_COUNT = Struct("@Q")  # how many were ever opened
_ENTRY = Struct("@iIQQQ")  # backing number, 0, number of the OPEN request, node, handle (0: the entry is free)
_HANDLE = Struct("@Q")  # its last field
_SLOT_BITS = 24  # of a handle: index of its entry; above: the count, so that no handle is used twice


class Opened(NamedTuple):
    """An inode that is open."""

    backing: int  # or CACHED
    handles: int  # at least 1


class OpenFiles:
    """The table, as one daemon has it."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of a memfd, stays the caller's."""
        size = max(os.fstat(descriptor).st_size, OFFSET + _BEGIN + ENTRIES * _ENTRY.size)
        os.ftruncate(descriptor, size)
        self._map = mmap.mmap(descriptor, size - OFFSET, offset=OFFSET)
        self._count: int = _COUNT.unpack_from(self._map)[0]
        self._opened: dict[int, Opened] = {}
        self._requests: dict[int, int] = {}  # handles of former daemons, by the number of their OPEN
        self._free: list[int] = []
        for slot in range(self._capacity() - 1, -1, -1):
            backing, unique, node, handle = self._entry(slot)
            if handle:
                self._requests[unique] = handle
                self._note(node, backing, 1)
            else:
                self._free.append(slot)

    def __repr__(self) -> str:
        return f"<OpenFiles: {len(self._opened)} inodes>"

    def opened(self, node: int) -> Opened | None:
        """How an inode is open; None: not at all."""
        return self._opened.get(node)

    def backings(self) -> set[int]:
        """The backing numbers by which something is open."""
        return {backing for backing, _ in self._opened.values() if backing != CACHED}

    def counts(self) -> tuple[int, int]:
        """Open inodes: from backing files, and through the kernel's page cache."""
        direct = sum(1 for opened in self._opened.values() if opened.backing != CACHED)
        return direct, len(self._opened) - direct

    def add(self, unique: int, node: int, backing: int) -> int:
        """Writes an open down, before it is answered; its handle, never 0."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._count += 1
        handle = self._count << _SLOT_BITS | slot
        _COUNT.pack_into(self._map, 0, self._count)
        # the handle is the last of the fields that are written: before it the entry is free
        _ENTRY.pack_into(self._map, _BEGIN + slot * _ENTRY.size, backing, 0, unique & ~UNIQUE_RESEND, node, handle)
        self._note(node, backing, 1)
        return handle

    def remove(self, handle: int) -> int:
        """Crosses an open out, unless it is already; the backing number that nothing is open by any more, or CACHED."""
        slot = handle & (1 << _SLOT_BITS) - 1
        if not handle or slot >= self._capacity():
            return CACHED
        backing, unique, node, there = self._entry(slot)
        if there != handle:
            return CACHED
        _HANDLE.pack_into(self._map, _BEGIN + (slot + 1) * _ENTRY.size - _HANDLE.size, 0)
        self._free.append(slot)
        self._requests.pop(unique, None)
        self._note(node, backing, -1)
        return CACHED if node in self._opened else backing

    def unanswered(self, unique: int) -> int:
        """The handle that a daemon before this one wrote down for an OPEN that now comes again, unanswered; 0: none."""
        return self._requests.get(unique & ~UNIQUE_RESEND, 0)

    def _note(self, node: int, backing: int, change: int) -> None:
        known = self._opened.get(node, Opened(backing, 0))
        if known.handles + change:
            self._opened[node] = Opened(known.backing, known.handles + change)
        else:
            del self._opened[node]

    def _capacity(self) -> int:
        return (len(self._map) - _BEGIN) // _ENTRY.size

    def _entry(self, slot: int) -> tuple[int, int, int, int]:
        backing, _, unique, node, handle = _ENTRY.unpack_from(self._map, _BEGIN + slot * _ENTRY.size)
        return backing, unique, node, handle

    def _grow(self) -> None:
        before = self._capacity()
        self._map.resize(_BEGIN + 2 * before * _ENTRY.size)
        self._free.extend(range(2 * before - 1, before - 1, -1))
