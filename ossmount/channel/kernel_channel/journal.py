"""Which requests were sent again, and how often their daemon had died of it, or at least with it.

A request that kills the daemon which takes it up would kill each successor too, since the kernel sends it again. So a daemon
writes down every request that it is sent again *before* it takes it up; its successor finds it there. The table is a memfd
that the keeper holds: it needs no disk, and survives kill -9. Entries are never taken out: numbers of requests are not used
again, and the oldest entry gives way to the newest.
"""

from __future__ import annotations

import mmap
import os
from struct import Struct

ENTRIES = 4096
DEATHS = 2  # deaths with a request in hand, after which it is refused
_NEXT = Struct("=Q")  # how many entries were ever written
_ENTRY = Struct("=QQ")  # number of the request, deaths
_BEGIN = 64  # bytes before the first entry
SIZE = _BEGIN + ENTRIES * _ENTRY.size


class Journal:
    """The table, as one daemon has it."""

    def __init__(self, descriptor: int, *, after_death: bool) -> None:
        """`descriptor` stays the caller's. after_death: the daemon before this one died, and did not hand over."""
        if os.fstat(descriptor).st_size < SIZE:
            os.ftruncate(descriptor, SIZE)
        self._map = mmap.mmap(descriptor, SIZE)
        self._died = int(after_death)
        self._mine: set[int] = set()  # taken up by this daemon: seen again they are the same attempt
        self._deaths: dict[int, int] = dict(_ENTRY.iter_unpack(self._map[_BEGIN:]))

    def __repr__(self) -> str:
        return f"<Journal: {len(self._mine)} requests taken up>"

    def take_up(self, unique: int) -> bool:
        """Writes down a request that was sent again; False when too many daemons have died with it in hand."""
        deaths = self._deaths.get(unique, 0)
        if unique not in self._mine:
            self._mine.add(unique)
            deaths += self._died
            self._write(unique, deaths)
        return deaths < DEATHS

    def _write(self, unique: int, deaths: int) -> None:
        self._deaths[unique] = deaths
        (number,) = _NEXT.unpack_from(self._map)
        # a kill between the two leaves an entry that the next one overwrites
        _ENTRY.pack_into(self._map, _BEGIN + number % ENTRIES * _ENTRY.size, unique, deaths)
        _NEXT.pack_into(self._map, 0, number + 1)
