"""The cache directories as the daemon sees them: which one is whose, and which ones are switched off and why."""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Final

from fastcrc import crc64

from ossmount.data.disk.keeper import root_of
from ossmount.data.disk.layout import path_of
from ossmount.durations import Durations
from ossmount.oss.interface import FetchRequest

_log = logging.getLogger(__name__)

_FULL: Final = 30.0  # seconds that nothing is written to a full disk
_BROKEN: Final = 300.0  # seconds that a failing or hanging disk is left alone
_FAILURES: Final = 5  # reads in a row that fail until a disk counts as failing
_FULL_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT)


#: Called with a read of the cache and the seconds that it took.
SlowReadWatcher = Callable[[FetchRequest, float], None]


class Place:
    """One directory."""

    def __init__(self, index: int, path: str) -> None:
        self.index = index
        self.path = path
        self.root = root_of(path)
        self.wrote = 0.0  # when a write was last answered
        self.known = False  # all names that are there are in the table of names
        self.trusted = False  # bytes that verify were read from it by the process that checks its owner
        self.seed = crc64.xz(os.fsencode(path))
        self.no_reads_until = 0.0
        self.no_writes_until = 0.0
        self.problem = ""  # why it is (partly) off
        self.failures = 0  # reads in a row
        self.reads = Durations()  # from the question to the answer of the reading process
        self.state: dict[str, object] = {}  # what its keeper says

    def facts(self, now: float) -> dict[str, object]:
        off = "off" if now < self.no_reads_until else "read-only" if now < self.no_writes_until else "on"
        facts = {"path": self.path, "names_known": self.known, "state": off, "problem": self.problem, **self.state}
        return {**facts, "durations": {"read": self.reads.facts()}}

    def __repr__(self) -> str:
        return f"<Place {self.path}: {self.problem or 'on'}>"


class Places:
    """All of them."""

    def __init__(self, paths: Sequence[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.all = [Place(index, path) for index, path in enumerate(paths)]
        self.slow_after = math.inf  # seconds; the watcher is told of reads that take as long
        self.watcher: SlowReadWatcher = lambda request, seconds: None

    def choose(self, name: bytes) -> Place | None:
        """Where an object belongs: each name has an order of the directories of its own, and the first that is on has it.

        So a directory that is added, or off, moves no more names than its share.
        """
        now = self._clock()
        there = [place for place in self.all if now >= place.no_reads_until]
        if len(there) < 2:
            return there[0] if there else None
        return max(there, key=lambda place: crc64.xz(name, place.seed))

    def watch(self, watcher: SlowReadWatcher, slow_after: float) -> None:
        """Tells of each read that takes so many seconds."""
        self.watcher, self.slow_after = watcher, slow_after

    def path_of(self, name: bytes) -> str:
        """Where an object lies if it is cached, without the suffix; "" where all directories are off."""
        place = self.choose(name)
        return "" if place is None else path_of(place.root, name, "")

    def may_write(self, place: Place) -> bool:
        return self._clock() >= place.no_writes_until and self._clock() >= place.no_reads_until

    def read(self, place: Place, error: int, since: float, request: FetchRequest) -> None:
        """A read that was asked for then went well (0), or ended in an errno."""
        took = self._clock() - since
        place.reads.add(took)
        if took >= self.slow_after:
            self.watcher(request, took)
        if not error:
            place.failures = 0
            return
        place.failures += 1
        if place.failures >= _FAILURES:
            place.failures = 0
            self._off(place, f"it fails ({os.strerror(error)})", reads=True, seconds=_BROKEN)

    def written(self, place: Place, error: int) -> None:
        """A write went well (0), or ended in an errno."""
        if not error:
            if place.problem and self.may_write(place):
                _log.info("cache directory %s is in use again", place.path)
                place.problem = ""
        elif error in _FULL_ERRORS:
            self._off(place, "it is full", reads=False, seconds=_FULL)
        else:
            self._off(place, f"it cannot be written ({os.strerror(error)})", reads=False, seconds=_BROKEN)

    def refused(self, place: Place, why: str) -> None:
        """It could not be made ready for writing."""
        self._off(place, f"it cannot be written ({why})", reads=False, seconds=float("inf"))

    def hangs(self, place: Place) -> None:
        self._off(place, "it is too slow", reads=True, seconds=_BROKEN)

    def _off(self, place: Place, why: str, *, reads: bool, seconds: float) -> None:
        until = self._clock() + seconds
        place.no_writes_until = max(place.no_writes_until, until)
        if reads:
            place.no_reads_until = until
        # A disk that stays full is found full again and again.
        level = logging.DEBUG if place.problem == why else logging.WARNING
        place.problem = why
        what = "nothing is read from it or written to it" if reads else "nothing is written to it"
        _log.log(level, "cache directory %s: %s; %s for a while, and reading goes on", place.path, why, what)
