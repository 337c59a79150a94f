"""End-to-end checks of larger objects: a Fetcher in front of the one that asks OSS.

An object that is fetched whole is compared with x-oss-hash-crc64ecma in the fetch process, before anybody is told of a byte.
One that comes in ranges can only be judged when they cover it. Their checksums are made in the fetch process; here they are
put together. A range ends for its readers with this check, and who reads a file from its beginning to its end waits for the
last byte of each range: so he is not told that he has all of it when it is wrong.

Where the ranges fail the object's checksum, the one that came last, of which nobody has a byte yet, is fetched a second time.
If that makes the whole right, the others were right as well, and nobody notices. Else bytes that were given out before may be
wrong: the range fails, with Corrupted; above, whatever else was fetched of the version is dropped then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from fastcrc import crc64

from ossmount.data.combine import combined
from ossmount.data.coverage import Coverages
from ossmount.errors import Corrupted, OssMountError
from ossmount.model import Version
from ossmount.oss.interface import FetchDone, Fetcher, FetchProgress, FetchRequest

#: Of so many larger objects one is checked with --verify sampled: others at each start of a daemon.
SAMPLE: Final = 8


def one_in(every: int, seed: bytes | None = None) -> Callable[[Version], bool]:
    """Chooses one of so many objects, for as long as a daemon lives; other ones with another seed (None: a random one)."""
    start = crc64.xz(os.urandom(8) if seed is None else seed)

    def choose(version: Version) -> bool:
        return crc64.xz(version.key, start) % every == 0

    return choose


class Integrity:
    """Implements Fetcher."""

    def __init__(self, fetcher: Fetcher, every: int, chosen: Callable[[Version], bool] | None = None) -> None:
        """Of `every` so many larger objects one is checked (1: all of them); `chosen` says which."""
        self._fetcher = fetcher
        self._chosen = chosen or one_in(every)
        self._all = every == 1
        self._coverages = Coverages()
        self._counts = dict.fromkeys(("ranges", "covered", "asked_again", "corrupted", "without_crc"), 0)
        self.promote = fetcher.promote
        self.cancel = fetcher.cancel

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        version = request.version
        if request.length < version.size and (self._all or self._chosen(version)):
            return _Compared(self._fetcher, self._coverages, self._counts, request, done, progress).fetch()
        return self._fetcher.fetch(request, done, progress)

    def facts(self) -> dict[str, object]:
        """Ranges whose checksum was made, objects that they covered and that were right or not, ranges that were fetched again
        before that was said, ranges of objects of which OSS tells no checksum; objects that are in work, and that were not
        covered before they gave way.
        """
        return {**self._counts, "in_work": len(self._coverages), "given_up": self._coverages.given_up}


class _Compared:
    """One range of an object that is compared."""

    __slots__ = ("_counts", "_coverages", "_crc", "_done", "_failure", "_fetcher", "_progress", "_request", "_told", "_whole")

    def __init__(
        self,
        fetcher: Fetcher,
        coverages: Coverages,
        counts: dict[str, int],
        request: FetchRequest,
        done: FetchDone,
        progress: FetchProgress | None,
    ) -> None:
        self._fetcher = fetcher
        self._coverages = coverages
        self._counts = counts
        self._request = request
        self._done = done
        self._progress = progress
        self._told = False  # somebody may have been given bytes of it
        self._crc = self._whole = 0  # of the range and of the object, as they were when the object was covered
        self._failure: OssMountError | None = None  # what the object's checksum said then

    def fetch(self) -> int:
        progress = None if self._progress is None else self._progressed
        return self._fetcher.fetch(self._request._replace(summed=self._summed), self._ended, progress)

    @property
    def _end(self) -> int:
        return self._request.start + self._request.length

    def _progressed(self, received: int) -> None:
        """Of the range that covers the object nothing is given out before it is judged."""
        if not self._coverages.lacks_only(self._request.version, self._request.start, self._end):
            self._told = True
            assert self._progress is not None
            self._progress(received)

    def _summed(self, crc: int, told: int | None) -> OssMountError | None:
        version, counts = self._request.version, self._counts
        counts["ranges"] += 1
        if told is None:
            counts["without_crc"] += 1
            return None
        whole = self._coverages.add(version, self._request.start, self._end, crc)
        if whole is None:
            return None
        if whole == told:
            counts["covered"] += 1
            return None
        self._crc, self._whole = crc, whole
        return Corrupted(f"{version.key!r}: all ranges together have the CRC64 {whole}, and OSS says {told}")

    def _ended(self, error: OssMountError | None) -> None:
        if not isinstance(error, Corrupted):
            self._done(error)
        elif self._told:
            self._counts["corrupted"] += 1
            self._done(error)
        else:
            self._failure = error
            self._counts["asked_again"] += 1
            self._fetcher.fetch(self._request._replace(demand=True, summed=self._summed_again), self._ended_again)

    def _summed_again(self, crc: int, told: int | None) -> OssMountError | None:
        """Other bytes of the range change the checksum of the whole by their difference, moved to its place."""
        whole = combined(self._crc ^ crc, self._whole, self._request.version.size - self._end)
        return None if whole == told else self._failure

    def _ended_again(self, error: OssMountError | None) -> None:
        """Whatever the second fetch failed with, the object was not found right."""
        self._counts["covered" if error is None else "corrupted"] += 1
        self._done(None if error is None else self._failure)
