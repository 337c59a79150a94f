"""What is being written to the cache: pages that are held until the writing process has stored them.

When that process is behind, or nobody can write, bytes are not written and nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ossmount.data.disk import messages
from ossmount.data.disk.known import Known
from ossmount.data.disk.layout import Label
from ossmount.data.disk.local import WholeCopies
from ossmount.data.disk.places import Place, Places
from ossmount.model import Version
from ossmount.oss.interface import FetchRequest

_BEHIND: Final = 4  # the share of the slab that may be held for writing: a quarter

#: Keeps what lies in the targets (from an offset of a version on) in memory until the function that it returns is called; None
#: when it does not lie there any more.
Hold = Callable[[Version, int, Sequence[tuple[int, int]]], Callable[[], None] | None]


@dataclass(slots=True)
class _Write:
    """Pages that are held until they are written."""

    name: bytes
    request: FetchRequest
    release: Callable[[], None]
    place: Place
    since: float


class Writes:
    """All that is under way. Its owner hands it what the writing process says, and numbers the messages."""

    def __init__(
        self,
        store: str,
        places: Places,
        known: Known,
        send: Callable[[messages.Message], bool],
        slab_size: int,
        copies: WholeCopies | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """store: endpoint and bucket. send: gives the writing process something to do; False when it cannot take it."""
        self._store = store
        self._places = places
        self._known = known
        self._send = send
        self._copies = copies
        self._clock = clock
        self.hold: Hold | None = None  # without it nothing is written
        self._number = 0
        self._under_way: dict[int, _Write] = {}  # oldest first
        self._held = 0
        self._most_held = slab_size // _BEHIND
        self._written = self._not_written = 0
        if copies is not None:
            copies.completion.has_room = lambda: self._held <= self._most_held // 2

    def __len__(self) -> int:
        return len(self._under_way)

    def names(self) -> Iterator[bytes]:
        """Of what is being written."""
        return (write.name for write in self._under_way.values())

    def facts(self) -> dict[str, object]:
        return {
            "bytes_written": self._written,
            "not_written": self._not_written,
            "writing": len(self._under_way),
            "bytes_held": self._held,
        }

    def begin(self, place: Place, name: bytes, request: FetchRequest) -> None:
        """Has the bytes of a fetch written, if there is somebody to do it and memory to keep them in."""
        version, length = request.version, request.length
        if self.hold is None or not self._places.may_write(place):
            return
        release = None
        if self._held + length <= self._most_held:
            release = self.hold(version, request.start, request.targets)
        if release is None:
            self._lose(name, request)
            return
        self._known.add(name)
        self._number = number = self._number + 1
        label = Label(self._store, version.key, version.etag).pack()
        message = (messages.WRITE, number, place.index, name, label, version.size, request.start, request.targets)
        if self._send(message):
            self._under_way[number] = _Write(name, request, release, place, self._clock())
            self._held += length
        else:
            self._lose(name, request)
            release()

    def ended(self, number: int, written: int, error: int) -> None:
        """The writing process has written so many bytes (0: none), or has failed with an errno."""
        write = self._under_way.pop(number)
        write.place.wrote = self._clock()
        self._held -= write.request.length
        self._written += written
        if written or error:
            self._places.written(write.place, error)
        write.release()
        if not written:
            self._lose(write.name, write.request)
        elif self._copies is not None:
            self._copies.written(write.place, write.name, write.request.version, write.request.length)

    def _lose(self, name: bytes, request: FetchRequest) -> None:
        self._not_written += 1
        if self._copies is not None:
            self._copies.not_written(name, request)

    def lost(self) -> None:
        """The writing process is gone."""
        for number in list(self._under_way):
            self.ended(number, 0, 0)

    def hangs(self, slow_after: float) -> Place | None:
        """The folder that a write hangs in for so many seconds; None when none does."""
        oldest = next(iter(self._under_way.values()), None)
        # A quarter of the slab may wait to be written, which on a busy machine takes long, and no disk hangs.
        if oldest is None or self._clock() - max(oldest.since, oldest.place.wrote) < slow_after:
            return None
        return oldest.place
