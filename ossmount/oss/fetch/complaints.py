"""Failures of objects that somebody has to do something about, in the log: each once, and not more than the log can bear.

A data set with ten thousand archived objects is one mistake and not ten thousand lines.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from ossmount.errors import Archived, Damaged, Denied, OssMountError

_log = logging.getLogger(__name__)

#: Lines in a minute. What is more is counted, and the number told with the next line.
_MOST: Final = 10
_MINUTE: Final = 60.0
#: Objects that are remembered as told.
_REMEMBERED: Final = 4096


class Complaints:
    """Of one bucket."""

    def __init__(self, bucket: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._clock = clock
        self._told: LRUCache[tuple[type[OssMountError], bytes], bool] = LRUCache(_REMEMBERED)
        self._minute = clock()
        self._lines = 0
        self._more = 0

    def failed(self, key: bytes, failure: OssMountError) -> None:
        """A fetch of the object has failed for good."""
        kind = type(failure)
        text = self._text(key, failure)
        about = kind, b"" if kind is Denied else key  # what is denied is rarely one object
        if not text or about in self._told:
            return
        now = self._clock()
        if now - self._minute >= _MINUTE:
            self._minute, self._lines = now, 0
        if self._lines >= _MOST:
            self._more += 1
            return
        self._told[about] = True
        self._lines += 1
        more, self._more = self._more, 0
        _log.error("%s%s", text, f" (and {more} failures more of that kind or another, not logged)" if more else "")

    def _text(self, key: bytes, failure: OssMountError) -> str:
        name = printable(key)
        if isinstance(failure, Archived):
            place = shlex.quote(f"oss://{self._bucket}/{name}")
            return (
                f"{name} is archived and not restored: reading it fails with ENODATA until `ossutil restore {place}` "
                "is done (a minute for Archive, hours for ColdArchive and DeepColdArchive; with -r for a folder)"
            )
        if isinstance(failure, Damaged):
            return f"{name} cannot be read, its bytes were wrong twice: {failure}"
        return str(failure) if isinstance(failure, Denied) else ""


def printable(key: bytes) -> str:
    """A key in one line of a log, without anything that a terminal obeys."""
    text = key.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]
