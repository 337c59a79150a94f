"""The daemon's side of whole copies (copies.py): asks for them, and has those checked that may have become whole."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import cachetools
import trio

from ossmount.data.disk import messages
from ossmount.data.disk.completing import Completion
from ossmount.data.disk.copies import NO_CRC64
from ossmount.data.disk.helper import Helper
from ossmount.data.disk.layout import BLOCK, WHOLE, name_of
from ossmount.data.disk.places import Place, Places
from ossmount.data.slab import Slab
from ossmount.errors import OssMountError
from ossmount.model import Version
from ossmount.oss.interface import FetchRequest

_log = logging.getLogger(__name__)

LEAST: Final = WHOLE + 1  # bytes; smaller objects share their file with a footer
THREADS: Final = 2  # one for a check, which is never more than one at a time, one for whoever waits for an open(2)
_AGAIN: Final = 30.0  # seconds after which what was not whole is looked at again: other mounts write as well
_KNOWN: Final = 65_536  # objects of which it is known what is missing


#: Asks OSS for the CRC-64 of a version; None: it has none. Raises OssMountError.
Checksum = Callable[[Version], Awaitable[int | None]]


class _Object(NamedTuple):
    place: Place
    name: bytes
    version: Version
    crc: int | None = None  # of the object, once it was asked for; NO_CRC64: OSS has none


class _Lack(NamedTuple):
    """What is missing of an object."""

    missing: int  # bytes at least; all of it before it was looked at
    since: float  # when that was looked at on the disk; 0.0: never


class WholeCopies:
    """Everything runs on the event loop's thread."""

    def __init__(
        self,
        settings: dict[str, Any],
        store: str,
        places: Places,
        slab: Slab,
        slow_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """settings: of the process. slow_after: seconds after which its disk counts as hanging."""
        self._store = store
        self._places = places
        self._slow_after = slow_after
        self._clock = clock
        self._helper = Helper("copy", settings, slab, self._take, self._lost, self._hangs, descriptors=True)
        self.checksum: Checksum | None = None  # without it nothing is compared with what OSS says of the whole
        self.completion = Completion()
        self._nursery: trio.Nursery | None = None
        self._number = 0
        self._asked: dict[int, _Asked] = {}  # oldest first
        self._lacks: cachetools.LRUCache[bytes, _Lack] = cachetools.LRUCache(_KNOWN)
        self._queue: deque[_Object] = deque()
        self._queued: set[bytes] = set()
        self._checking: tuple[int, _Object] | None = None
        self._meanwhile = 0  # bytes of that object that were stored since: whether the check saw them is not known
        self._counts = dict.fromkeys(("given", "not_whole", "checked", "whole", "bad_blocks", "bad_copies", "errors"), 0)

    async def run(self, started: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.completion.run)
            await self._helper.run(started)
            nursery.cancel_scope.cancel()

    def pids(self) -> list[int]:
        return [] if self._helper.process is None else [self._helper.process.pid]

    def facts(self) -> dict[str, object]:
        return {
            **self._counts,
            "waiting_for_check": len(self._queued),
            "completed": self.completion.completed,
            "restarts": self._helper.restarts,
        }

    async def open(self, version: Version) -> int | None:
        """A descriptor (the caller's) of a file with all bytes of the version; None: there is none.

        Soon in either case: a disk that hangs is given up after slow_after seconds.
        """
        if version.size < LEAST or not version.etag:
            return None
        name = name_of(self._store, version)
        place = self._places.choose(name)
        if place is None:
            return None
        descriptor = await self._ask(place, name, version.size)
        if descriptor is None:
            self._counts["not_whole"] += 1
            lack = self._lacks.get(name)
            if lack is None or not lack.since or self._clock() - lack.since > _AGAIN:
                self._want(_Object(place, name, version))
        else:
            self._counts["given"] += 1
        return descriptor

    def written(self, place: Place, name: bytes, version: Version, length: int) -> None:
        """So many bytes of an object were stored."""
        size = version.size
        if size >= LEAST:
            if self._checking is not None and self._checking[1].name == name:
                self._meanwhile += length
            missing, since = self._lacks.get(name) or _Lack(size, 0.0)
            self._lacks[name] = _Lack(missing - length, since)
            if missing <= length:
                self._want(_Object(place, name, version))
            else:
                self.completion.look(name, missing - length)

    def not_written(self, name: bytes, request: FetchRequest) -> None:
        """Bytes of an object were fetched, and could not be stored."""
        size = request.version.size
        if size >= LEAST:
            self.completion.lost(name, request.version, request.start, request.length)
            missing, _ = self._lacks.get(name) or _Lack(size, 0.0)
            self.completion.look(name, missing)

    # -- asking

    async def _ask(self, place: Place, name: bytes, size: int) -> int | None:
        self._number = number = self._number + 1
        if not self._helper.send((messages.COPY, number, place.index, name, size)):
            return None
        asked = self._asked[number] = _Asked(place, self._clock())
        try:
            await asked.answered.wait()  # at the latest when the process is killed since its disk hangs
        except BaseException:
            asked.drop()
            raise
        return asked.descriptor

    def _take(self, message: messages.Message) -> None:
        kind, number, *rest, descriptor = message
        if kind == messages.COPIED:
            asked = self._asked.pop(number)
            self._counts["errors"] += rest[0] != 0
            asked.answer(descriptor)
        elif kind == messages.CHECKED:
            self._checked(number, *rest)

    def _lost(self) -> None:
        """The process is gone."""
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.answer(-1)
        self._checking = None
        self._queue.clear()
        self._queued.clear()

    def _hangs(self) -> bool:
        oldest = next(iter(self._asked.values()), None)
        if oldest is None or self._clock() - oldest.since < self._slow_after:
            return False
        self._places.hangs(oldest.place)
        return True

    # -- checking

    def _want(self, wanted: _Object) -> None:
        if wanted.name not in self._queued:
            self._queued.add(wanted.name)
            self._queue.append(wanted)
            self._check_next()

    def _check_next(self) -> None:
        while self._checking is None and self._queue:
            wanted = self._queue.popleft()
            self._number = number = self._number + 1
            crc = NO_CRC64 if self.checksum is None else wanted.crc
            if self._helper.send((messages.CHECK, number, wanted.place.index, wanted.name, wanted.version.size, crc)):
                self._checking = (number, wanted)
                self._meanwhile = 0
            else:
                self._queued.discard(wanted.name)  # the next open(2) asks again

    def _checked(self, number: int, missing: int, bad: int, whole: bool, unproved: bool, error: int) -> None:
        assert self._checking is not None and self._checking[0] == number
        _, wanted = self._checking
        self._checking = None
        if unproved and self._nursery is not None:
            self._nursery.start_soon(self._prove, wanted)
            self._check_next()
            return
        self._queued.discard(wanted.name)
        counts = self._counts
        counts["checked"] += 1
        counts["whole"] += whole
        counts["bad_blocks"] += bad
        counts["errors"] += error != 0
        if bad * BLOCK >= wanted.version.size:
            counts["bad_copies"] += 1
            _log.error("cache directory %s: a copy of %r is not what OSS has: fetched anew", wanted.place.path, wanted.version)
        elif bad:
            _log.warning("cache directory %s: %d blocks of a whole copy do not verify: fetched anew", wanted.place.path, bad)
        if whole:
            self._lacks.pop(wanted.name, None)
        else:
            self._lacks[wanted.name] = _Lack(missing - self._meanwhile, self._clock())
            if missing <= self._meanwhile and self._meanwhile:
                self._want(wanted)
            else:
                self.completion.look(wanted.name, missing - self._meanwhile)
        self._check_next()

    async def _prove(self, wanted: _Object) -> None:
        """Has a copy that is complete compared with what OSS says of the object."""
        assert self.checksum is not None
        try:
            crc = await self.checksum(wanted.version)
        except OssMountError as failure:  # the next open(2) tries again, after a while
            _log.info("a copy of %r is not used yet: its checksum cannot be asked for: %s", wanted.version, failure)
            self._queued.discard(wanted.name)
            self._lacks[wanted.name] = _Lack(1, self._clock())
            return
        self._queue.append(wanted._replace(crc=NO_CRC64 if crc is None else crc))
        self._check_next()


class _Asked:
    """One who waits for a copy."""

    def __init__(self, place: Place, since: float) -> None:
        self.place = place
        self.since = since
        self.answered = trio.Event()
        self.descriptor: int | None = None
        self.abandoned = False

    def answer(self, descriptor: int) -> None:
        """-1: there is none."""
        self.descriptor = descriptor if descriptor >= 0 else None
        self.answered.set()
        if self.abandoned:
            self.drop()

    def drop(self) -> None:
        """Nobody takes it any more."""
        self.abandoned = True
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
