"""Completes copies of objects that were read through, but not all of whose bytes could be written while they were fetched.

The kernel does not ask again for what it has in its page cache: such a copy would stay incomplete for long. Of each object
the ranges that were lost are remembered; once nothing else is missing, they are fetched once more, a piece at a time, and only
while the writing process has room. Everything runs on the event loop's thread.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from ossmount.data.interface import Reader
from ossmount.errors import OssMountError
from ossmount.model import Version

_log = logging.getLogger(__name__)

PIECE: Final = 1 << 20  # bytes of one fetch
QUIET: Final = 1.0  # seconds after the last loss until it is made good: readers and the disk are still busy
LOOK: Final = 0.05  # seconds between two looks at whether there is room
RETRY: Final = 30.0  # seconds after a failure
TRIES: Final = 10  # for one object
RANGES: Final = 2048  # of one object, at most
MOST: Final = 4096  # objects whose losses are remembered


@dataclass(slots=True)
class _Loss:
    """What was lost of one object."""

    version: Version
    ranges: list[tuple[int, int]] = field(default_factory=list)  # offset, length
    size: int = 0  # bytes of all ranges
    last: float = 0.0  # when something was lost
    tries: int = 0

    def unite(self) -> bool:
        """Whether the ranges are few, once those that touch or overlap are one."""
        self.ranges = union(self.ranges)
        self.size = sum(length for _, length in self.ranges)
        return len(self.ranges) <= RANGES // 2


class Completion:
    """The losses of all objects, and the task that makes them good."""

    def __init__(self) -> None:
        self.reader: Reader | None = None  # without it nothing is completed
        self.has_room: Callable[[], bool] = lambda: True
        self._losses: OrderedDict[bytes, _Loss] = OrderedDict()
        self._wanted: set[bytes] = set()
        self._wake = trio.Event()
        self.completed = 0

    def lost(self, name: bytes, version: Version, offset: int, length: int) -> None:
        """A range was fetched, and could not be written."""
        loss = self._losses.setdefault(name, _Loss(version))
        loss.ranges.append((offset, length))
        loss.size += length
        loss.last = trio.current_time()
        if len(loss.ranges) > RANGES and not loss.unite():  # read at random from a disk that is slow all the time
            del self._losses[name]
        elif len(self._losses) > MOST:
            self._losses.popitem(last=False)

    def look(self, name: bytes, missing: int) -> None:
        """So many bytes of an object are missing: it is completed if all of them were lost."""
        loss = self._losses.get(name)
        if loss is not None and missing <= loss.size and self.reader is not None:
            self._wanted.add(name)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake = trio.Event()
            due = {name: self._losses[name].last + QUIET for name in self._wanted if name in self._losses}
            name = min(due, key=due.__getitem__, default=None)
            if name is None:
                self._wanted.clear()
                await self._wake.wait()
            elif due[name] > trio.current_time():
                with trio.move_on_at(due[name]):
                    await self._wake.wait()
            else:
                self._wanted.remove(name)
                await self._complete(name, self._losses.pop(name))  # what is lost from now on is another loss

    async def _complete(self, name: bytes, loss: _Loss) -> None:
        assert self.reader is not None
        self.reader.forget(loss.version)  # what lies in memory would be read there, and not be written
        ranges = union(loss.ranges)
        try:
            while ranges:
                await self._fetch(self.reader, loss.version, *ranges[0])
                del ranges[0]
        except OssMountError as failure:
            _log.info("a copy of %r is not complete: %s", loss.version, failure)
            if loss.tries < TRIES and name not in self._losses:
                again = sum(length for _, length in ranges)
                self._losses[name] = _Loss(loss.version, ranges, again, trio.current_time() + RETRY, loss.tries + 1)
                self._wanted.add(name)
            return
        self.completed += 1

    async def _fetch(self, reader: Reader, version: Version, offset: int, length: int) -> None:
        for at in range(offset, offset + length, PIECE):
            while not self.has_room():
                await trio.sleep(LOOK)
            await _read(reader, version, at, min(PIECE, offset + length - at))


def union(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in order, each once."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        first, before = found[-1] if found else (0, 0)
        if found and offset <= first + before:
            found[-1] = (first, max(before, offset + length - first))
        else:
            found.append((offset, length))
    return found


async def _read(reader: Reader, version: Version, offset: int, size: int) -> None:
    """As a reader does, which fetches what is not there and has it written. Raises OssMountError."""
    finished = trio.Event()
    failures: list[OssMountError] = []

    def done(result: Sequence[memoryview] | OssMountError) -> None:
        if isinstance(result, OssMountError):
            failures.append(result)
        finished.set()

    reader.read(version, offset, size, done)
    await finished.wait()
    if failures:
        raise failures[0]
