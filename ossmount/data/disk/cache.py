"""The disk cache: a Fetcher before the one that asks OSS.

A fetch is asked of the reading process first; what is missing of it is fetched from OSS, and while a reader already has it,
the pages are held until the writing process has stored them. When that process is behind, they are not held and not stored.

Everything here runs on the event loop's thread and never waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from ossmount.config import DiskConfig
from ossmount.data.disk import messages
from ossmount.data.disk.dropping import Dropping
from ossmount.data.disk.helper import Helper
from ossmount.data.disk.known import Known
from ossmount.data.disk.layout import WHOLE, name_of
from ossmount.data.disk.local import THREADS, Checksum, WholeCopies
from ossmount.data.disk.pinning import Pinning
from ossmount.data.disk.places import Place, Places
from ossmount.data.disk.quick import QuickReader
from ossmount.data.disk.ranges import Range, joined
from ossmount.data.disk.writes import Hold, Writes
from ossmount.data.interface import Reader
from ossmount.data.slab import Slab, cut
from ossmount.errors import OssMountError, Unavailable
from ossmount.model import Version
from ossmount.oss.interface import FetchDone, Fetcher, FetchProgress, FetchRequest

_log = logging.getLogger(__name__)

_READ_THREADS: Final = 8  # for each directory up to 4 of them; a disk wants several reads at once
#: More fetches than this in the reading process, the first of them for longer than so many seconds: OSS is asked as well.
_BUSY: Final = (64, 1.0)
#: The share of what readers asked for lately that lay on the disks, from which on they are said to be served from there; each
#: further fetch counts for a sixteenth.
_SERVED: Final = 0.75
_WEIGHT: Final = 1 / 16


@dataclass(slots=True, eq=False)
class _Fetch:
    """A fetch that is not done."""

    request: FetchRequest
    done: FetchDone
    progress: FetchProgress | None
    place: Place | None
    name: bytes
    demand: bool
    since: float
    cancelled: bool = False
    error: OssMountError | None = None
    parts: dict[int, int] = field(default_factory=dict)  # at OSS: number of each part, 0 before it is started


class DiskCache:
    """Implements Fetcher, and is a component of the daemon."""

    def __init__(self, fetcher: Fetcher, slab: Slab, config: DiskConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._store = config.store
        self._slow_after = config.slow_after
        self._end_within = config.end_within
        self._clock = clock
        self.places = self._places = Places([str(directory) for directory in config.directories], clock)
        settings: dict[str, Any] = {
            "directories": [place.path for place in self._places.all],
            "size": config.size // len(config.directories),
            "free_percent": config.free_space,
            "touch_after": config.touch_after,
        }
        count = len(config.directories)
        reading = {**settings, "threads": min(16, _READ_THREADS * count)}
        writing = {**settings, "threads": count + 1}
        self._reader = Helper("read", reading, slab, self._take, self._reader_lost, self._reads_hang)
        self._known = Known()
        self._writer = Helper("write", writing, slab, self._take, self._writer_lost, self._writes_hang)
        self.pinning = Pinning(config.store, self._places, self._writer.send)
        self._dropping = Dropping(self._writer.send)
        self._quick = QuickReader(slab.view, config.touch_after)
        self.copies: WholeCopies | None = None
        if config.copies:
            copying = {**settings, "threads": THREADS}
            self.copies = WholeCopies(copying, config.store, self._places, slab, config.slow_after, clock)
        self._number = 0
        self._fetches: dict[int, _Fetch] = {}
        self._asked: dict[int, None] = {}  # those of them that the reading process has; oldest first
        self._served = 0.0  # the share of the disks in what readers asked for lately
        names = (
            "hits",
            "quick_hits",
            "partial_hits",
            "misses",
            "known_misses",
            "bypassed",
            "bytes_read",
            "bad_blocks",
            "read_errors",
        )
        self._counts = dict.fromkeys(names, 0)
        self._writes = Writes(config.store, self._places, self._known, self._writer.send, slab.size, self.copies, clock)

    def attach(self, hold: Hold, checksum: Checksum | None = None, reader: Reader | None = None) -> None:
        """hold: keeps pages in memory while they are written; without it nothing is.

        checksum: what whole copies must have. reader: completes them.
        """
        self._writes.hold = hold
        if self.copies is not None:
            self.copies.checksum, self.copies.completion.reader = checksum, reader

    @property
    def serves(self) -> bool:
        """Whether most of what readers asked for lately lay on the disks, so that nothing is gained by fetching it before."""
        return self._served >= _SERVED

    def at_once(self, version: Version) -> memoryview | None:
        """All bytes of a small object, verified, where the kernel has them; valid until the next call.

        Such a read needs no memory of the slab, and no fetch.
        """
        if not version.etag or version.size > WHOLE:
            return None
        name = name_of(self._store, version)
        place = self._places.choose(name)
        if place is None or not place.trusted or not self._may_have(place, name) or name in self._dropping.names:
            return None
        found = self._quick.read(place.root, name, version.size)
        if found is not None:
            self._quick_hit(version.size, demand=True)
        return found

    # ---- Fetcher

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        self._number = number = self._number + 1
        version = request.version
        name, place = b"", None
        if version.etag:
            name = name_of(self._store, version)
            place = None if name in self._dropping.names else self._places.choose(name)
        may_be_there = place is not None and self._may_have(place, name)
        if place is not None and may_be_there and place.trusted and self._is_quick(place, name, request):
            _guarded(done, None)
            return number
        if place is not None and self._is_busy():
            self._counts["bypassed"] += 1
            place = None
        fetch = _Fetch(request, done, progress, place, name, request.demand, self._clock())
        self._fetches[number] = fetch
        if place is not None and not may_be_there:
            self._counts["misses"] += 1
            self._counts["known_misses"] += 1
            self._note(fetch.demand, hit=False)
        elif place is not None:
            wants_progress = progress is not None
            message = (messages.READ, number, place.index, name, version.size, request.start, request.targets, wants_progress)
            if self._reader.send(message):
                self._asked[number] = None
                return number
        self._fetch_missing(number, fetch, [(request.start, request.start + request.length)])
        return number

    def _may_have(self, place: Place, name: bytes) -> bool:
        """False is certain."""
        return not place.known or name in self._known

    def _is_quick(self, place: Place, name: bytes, request: FetchRequest) -> bool:
        """Whether the kernel has all of a small object, so that nobody need be asked."""
        size = request.length
        if size > WHOLE or size != request.version.size or not self._quick.load(place.root, name, size, request.targets):
            return False
        self._quick_hit(size, request.demand)
        return True

    def _quick_hit(self, size: int, demand: bool) -> None:
        self._counts["hits"] += 1
        self._counts["quick_hits"] += 1
        self._counts["bytes_read"] += size
        self._note(demand, hit=True)

    def _note(self, demand: bool, *, hit: bool) -> None:
        """A fetch has found its bytes on the disk, or has not."""
        if demand:
            self._served += (hit - self._served) * _WEIGHT

    def promote(self, number: int) -> None:
        fetch = self._fetches.get(number)
        if fetch is not None:
            fetch.demand = True
            for part in filter(None, fetch.parts.values()):
                self._fetcher.promote(part)

    def cancel(self, number: int) -> None:
        fetch = self._fetches.get(number)
        if fetch is not None:
            fetch.cancelled = True
            for part in list(filter(None, fetch.parts.values())):
                self._fetcher.cancel(part)

    def drop(self, version: Version) -> None:
        """Removes what is cached of the version; until that is done it is neither read here nor written."""
        self._dropping.add(name_of(self._store, version), self._writes.names())

    # ---- daemon

    async def run(self, started: Callable[[], None]) -> None:
        """Owns the disk processes until cancelled, then lets them write what waits, for a moment.

        A mount never waits for them to start, nor ends with them.
        """
        reader, writer = trio.Event(), trio.Event()
        helpers = trio.CancelScope(shield=True)

        async def run_helpers() -> None:
            with helpers:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._reader.run, reader.set)
                    nursery.start_soon(self._writer.run, writer.set)
                    if self.copies is not None:
                        nursery.start_soon(self.copies.run, _nothing)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_helpers)
            try:
                await reader.wait()
                await writer.wait()
                started()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(self._end_within, shield=True):
                    while self._writes:
                        await trio.sleep(0.01)
                helpers.cancel()

    def pids(self) -> list[int]:
        pids = [helper.process.pid for helper in (self._reader, self._writer) if helper.process is not None]
        return pids if self.copies is None else [*pids, *self.copies.pids()]

    def facts(self) -> dict[str, object]:
        """Counters since the start, and the state of each directory."""
        now = self._clock()
        return {
            **self._counts,
            "reading": len(self._asked),
            **self._writes.facts(),
            "dropped_versions": self._dropping.dropped,
            "restarts": self._reader.restarts + self._writer.restarts,
            "pids": self.pids(),
            "directories": {place.path: place.facts(now) for place in self._places.all},
            **({} if self.copies is None else {"copies": self.copies.facts()}),
        }

    # ---- reading

    def _take(self, message: messages.Message) -> None:
        kind = message[0]
        if kind == messages.DONE:
            self._answered(*message[1:])
        elif kind == messages.PROGRESS:
            fetch = self._fetches.get(message[1])
            if fetch is not None and fetch.progress is not None:
                _guarded(fetch.progress, message[2])
        elif kind == messages.WRITTEN:
            self._writes.ended(*message[1:])
            self._dropping.ask(self._writes.names())
        elif kind == messages.LISTED:
            self._listed(self._places.all[message[1]], *message[2:])
        elif kind == messages.PINNED:
            self.pinning.answered(*message[1:])
        elif kind == messages.STATE:
            self._places.all[message[1]].state = message[2]
            self._dropping.ask(self._writes.names())  # it may be the first one of a process
        elif kind == messages.DROPPED:
            self._dropping.answered(*message[1:])
        elif kind == messages.REFUSED:
            self._places.refused(self._places.all[message[1]], message[2])

    def _listed(self, place: Place, positions: bytes, known: bool | None) -> None:
        self._known.add_positions(positions)
        if known is not None:
            place.known = known

    def _answered(self, number: int, missing: list[Range], bad: int, error: int) -> None:
        """The reading process has done what it could."""
        del self._asked[number]
        fetch = self._fetches[number]
        place, counts = fetch.place, self._counts
        assert place is not None
        if bad:
            counts["bad_blocks"] += bad
            _log.warning(
                "cache directory %s: %d blocks of %r do not verify: fetched anew", place.path, bad, fetch.request.version
            )
        if error:
            counts["read_errors"] += 1
        self._places.read(place, error, fetch.since, fetch.request)
        lacking = sum([end - start for start, end in missing])
        if lacking < fetch.request.length:
            place.trusted = True  # the reading process has looked at whose it is
        counts["bytes_read"] += fetch.request.length - lacking
        counts["misses" if lacking == fetch.request.length else "partial_hits" if missing else "hits"] += 1
        self._note(fetch.demand, hit=not missing)
        if missing:
            self._fetch_missing(number, fetch, missing)
        else:
            self._end(number, fetch)

    def _fetch_missing(self, number: int, fetch: _Fetch, missing: list[Range]) -> None:
        """Asks OSS for ranges of the fetch."""
        if fetch.cancelled:
            fetch.error = Unavailable("cancelled: nobody waits any more")
            self._end(number, fetch)
            return
        gaps = joined(missing)
        fetch.parts = dict.fromkeys(range(len(gaps)), 0)
        for part, (start, end) in enumerate(gaps):
            targets = tuple(cut(fetch.request.targets, fetch.request.start, start, end))
            request = fetch.request._replace(start=start, length=end - start, targets=targets, demand=fetch.demand)
            progress = None
            if fetch.progress is not None and len(gaps) == 1:
                progress = partial(_progressed, fetch.progress, start - fetch.request.start)
            inner = self._fetcher.fetch(request, partial(self._fetched, number, fetch, part, request), progress)
            if part in fetch.parts:
                fetch.parts[part] = inner

    def _fetched(self, number: int, fetch: _Fetch, part: int, request: FetchRequest, error: OssMountError | None) -> None:
        """OSS has answered a part."""
        del fetch.parts[part]
        if error is not None:
            fetch.error = fetch.error or error
        elif fetch.place is not None and fetch.name not in self._dropping.names:
            self._writes.begin(fetch.place, fetch.name, request)
        if not fetch.parts:
            self._end(number, fetch)

    def _end(self, number: int, fetch: _Fetch) -> None:
        del self._fetches[number]
        _guarded(fetch.done, fetch.error)

    def _is_busy(self) -> bool:
        """The disks are slower than what is asked of them."""
        if len(self._asked) <= _BUSY[0]:
            return False
        return self._clock() - self._fetches[next(iter(self._asked))].since > _BUSY[1]

    def _reader_lost(self) -> None:
        """The reading process is gone, and with it what it was asked: OSS is asked."""
        for place in self._places.all:
            place.known = False  # nobody looks any more at who else writes there
        asked, self._asked = self._asked, {}
        for number in asked:
            fetch = self._fetches[number]
            self._fetch_missing(number, fetch, [(fetch.request.start, fetch.request.start + fetch.request.length)])

    def _reads_hang(self) -> bool:
        oldest = next(iter(self._asked), None)
        if oldest is None or self._clock() - self._fetches[oldest].since < self._slow_after:
            return False
        place = self._fetches[oldest].place
        assert place is not None
        self._places.hangs(place)
        return True

    def _writer_lost(self) -> None:
        self.pinning.lost()
        self._dropping.lost()
        self._writes.lost()

    def _writes_hang(self) -> bool:
        place = self._writes.hangs(self._slow_after)
        if place is not None:
            self._places.hangs(place)
        return place is not None


def _nothing() -> None: ...


def _progressed(progress: FetchProgress, before: int, received: int) -> None:
    progress(before + received)


def _guarded(callback: Callable[..., None], argument: object) -> None:
    """Calls what the data path gave; a defect there must not stop the other fetches."""
    try:
        callback(argument)
    except Exception:
        _log.exception("a callback of a fetch failed")
