"""Which fetches a fetch process has on a connection, kept where the daemon can read it when the process is dead.

A fetch that was in hand at several deaths may have caused them and is given up; one that only waited in the queue has done
nothing and waits for the successor. Shared memory and not a message: a process that dies sends none, and one for each fetch
that begins would wake the daemon twice as often.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

_ENTRY: Final = 8  # bytes of one number


class InHand:
    """The numbers of the fetches on connections, at most `places`, in a mapping that outlives the process. 0: a free place."""

    def __init__(self, fd: int, places: int) -> None:
        self._memory = mmap.mmap(fd, places * _ENTRY)
        self._table = memoryview(self._memory).cast("Q")
        self._free = list(range(places))
        self._places: dict[int, int] = {}

    def begin(self, number: int) -> None:
        place = self._places[number] = self._free.pop()
        self._table[place] = number

    def end(self, number: int) -> None:
        """Nothing happens when it is not in hand."""
        place = self._places.pop(number, None)
        if place is not None:
            self._table[place] = 0
            self._free.append(place)


class Record:
    """The daemon's view of what one process has in hand."""

    def __init__(self, places: int) -> None:
        self.fd = os.memfd_create("ossmount-in-hand", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, places * _ENTRY)

    def close(self) -> set[int]:
        """What the process had in hand when it ended; only after its end."""
        with os.fdopen(self.fd, "rb") as file:
            return {number for number in memoryview(file.read()).cast("Q") if number}
