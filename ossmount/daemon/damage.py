"""What is done about objects whose bytes fail their checks: said in the log, counted, and every copy dropped."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from ossmount.errors import Corrupted, OssMountError
from ossmount.model import Version

_log = logging.getLogger(__name__)

_KNOWN: Final = 4096  # versions that were named in the log, and are not again
_LINES: Final = 20  # lines in a period; what is more is counted and said at its end
_PERIOD: Final = 60.0  # seconds

#: Takes what there is of a version out of one place.
Drop = Callable[[Version], None]


class Damage:
    """Told by the data path of each fetch that failed its checks, also when it was tried again."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        """source: the bucket as the log shows it, oss://BUCKET/."""
        self._source = source
        self._clock = clock
        self._drops: Sequence[Drop] = ()
        self._named: OrderedDict[Version, None] = OrderedDict()
        self._since = -_PERIOD
        self._lines = self._left_out = 0
        self._counts = dict.fromkeys(("damaged_reads", "damaged_objects", "corrupted_objects"), 0)

    def drop_from(self, *drops: Drop) -> None:
        """From now on what is corrupted is dropped from there."""
        self._drops = drops

    def __call__(self, version: Version, error: OssMountError) -> None:
        self._counts["damaged_reads"] += 1
        if version not in self._named:
            self._named[version] = None
            if len(self._named) > _KNOWN:
                self._named.popitem(last=False)
            self._counts["damaged_objects"] += 1
            self._say(version, error)
        if isinstance(error, Corrupted):
            self._counts["corrupted_objects"] += 1
            for drop in self._drops:
                try:
                    drop(version)
                except Exception:  # the reads that fail for it must be answered all the same
                    _log.exception("a copy of %r could not be dropped", version)

    def facts(self) -> dict[str, object]:
        """Fetches that stayed damaged, versions they were of, and those of them of which bytes had been given out."""
        return dict(self._counts)

    def _say(self, version: Version, error: OssMountError) -> None:
        now = self._clock()
        if now - self._since >= _PERIOD:
            if self._left_out:
                _log.error("%d more damaged objects were not named here", self._left_out)
            self._since, self._lines, self._left_out = now, 0, 0
        if self._lines >= _LINES:
            self._left_out += 1
            return
        self._lines += 1
        place = self._source + version.key.decode("utf-8", "backslashreplace")
        text = "all copies are dropped, and reads fail for a minute" if isinstance(error, Corrupted) else "the read fails"
        _log.error("%r (ETag %s, %d bytes) is damaged: %s: %s", place, version.etag, version.size, error, text)
