"""End-to-end checks of larger objects: a Fetcher in front of the one that asks OSS.

An object that is fetched whole is compared with x-oss-hash-crc64ecma in the fetch process, before anybody is told of a byte.
One that comes in ranges can only be judged when they cover it. Their checksums are made in the fetch process; here they are
put together. Where they fail the object's, the range that came last fails, with Corrupted; above, whatever else was fetched
of the version is dropped then. A range ends for its readers with this check, and who reads a file from its beginning to its
end waits for the last byte of each range: so he is not told that he has all of it when it is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from fastcrc import crc64

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
        self._counts = dict.fromkeys(("ranges", "covered", "corrupted", "without_crc"), 0)
        self.promote = fetcher.promote
        self.cancel = fetcher.cancel

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        version = request.version
        if request.length < version.size and (self._all or self._chosen(version)):
            request = request._replace(summed=partial(self._summed, version, request.start, request.start + request.length))
        return self._fetcher.fetch(request, done, progress)

    def facts(self) -> dict[str, object]:
        """Ranges whose checksum was made, objects that they covered and that were right or not, ranges of objects of which
        OSS tells no checksum; objects that are in work, and that were not covered before they gave way.
        """
        return {**self._counts, "in_work": len(self._coverages), "given_up": self._coverages.given_up}

    def _summed(self, version: Version, start: int, end: int, crc: int, told: int | None) -> OssMountError | None:
        self._counts["ranges"] += 1
        if told is None:
            self._counts["without_crc"] += 1
            return None
        whole = self._coverages.add(version, start, end, crc)
        if whole is None:
            return None
        if whole == told:
            self._counts["covered"] += 1
            return None
        self._counts["corrupted"] += 1
        return Corrupted(f"{version.key!r}: all ranges together have the CRC64 {whole}, and OSS says {told}")
