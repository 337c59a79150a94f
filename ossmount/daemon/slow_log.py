"""The log of slow operations: a line of JSON for each, with where its time went.

    {"time": "2026-11-21T22:43:26.123Z", "operation": "READ", "path": "a/b.bin", "offset": 0, "size": 131072, "ms": 312.5,
     "errno": "", "where": {"queue": 1.2, "network": 300.1, "retry": 0.0, "disk": 0.0, "other": 11.2}}

Operations are those of the kernel (READ, LOOKUP, …) and beside them the GETs to OSS. queue: without a connection; network: on
one; retry: between two attempts; disk: reading the cache on local disks; listing: of an operation on names, LIST and HEAD;
other: what no part of the mount has claimed (waiting for memory, for bytes of a fetch that goes on, for CPU).

Nothing is written on the event loop: lines are gathered and written twice a second by a thread.
"""

from __future__ import annotations

import datetime
import errno
import functools
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from ossmount.channel.interface import Ended
from ossmount.errors import OssMountError
from ossmount.insight.looks import NAMES
from ossmount.oss.interface import FetchRequest, SlowFetch

log = logging.getLogger(__name__)

LARGEST: Final = 16 << 20  # bytes of the file; then it becomes FILE.1, and the former one of that name goes
WAITING: Final = 10_000  # lines that may wait to be written; a storm of slow operations loses those beyond, and counts them
PART: Final = 0.25  # of the threshold: parts of an operation from there on are claimed
_EVERY: Final = 0.5  # seconds between two writings
_CLAIMS: Final = 512  # fetches and disk reads that operations which end later can be explained by


class _Claim(NamedTuple):
    """A slow part: of which bytes, when it ended (monotonic), and milliseconds by reason."""

    key: bytes
    start: int
    end: int
    ended: float
    where: dict[str, float]


class SlowLog:
    """A component of the daemon."""

    def __init__(
        self,
        path: Path,
        threshold: float,
        key_of: Callable[[int], bytes],
        prefix: bytes,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """threshold: seconds. key_of: the key of a node, raises OssMountError; prefix: what keys have before the path."""
        self._path = path
        self._threshold = threshold
        self._key_of = key_of
        self._prefix = prefix
        self._now = now
        self._claims: deque[_Claim] = deque(maxlen=_CLAIMS)
        self._lines: list[str] = []
        self._written = self._lost = 0
        self._problem = ""

    def facts(self) -> dict[str, object]:
        return {"path": str(self._path), "lines": self._written, "lost": self._lost, "problem": self._problem}

    # -- what is slow, told on the event loop's thread

    def request_ended(self, ended: Ended) -> None:
        """A request of the kernel that took as long as the threshold says."""
        try:
            key = self._key_of(ended.node)
        except OssMountError:
            key = None
        where = {"listing": ended.seconds * 1e3} if ended.operation in NAMES else self._explain(key, ended)
        name = b"/" + ended.name if ended.name and key and not key.endswith(b"/") else ended.name
        path = None if key is None else key + name
        self._note(ended.operation, path, ended.offset, ended.size, ended.seconds, ended.errno, where)

    def fetch_ended(self, fetch: SlowFetch) -> None:
        """A GET that took a part of the threshold."""
        network = max(0.0, fetch.seconds - fetch.queued - fetch.paused)
        where = {"queue": fetch.queued * 1e3, "network": network * 1e3, "retry": fetch.paused * 1e3}
        self._claims.append(_Claim(fetch.key, fetch.start, fetch.start + fetch.length, self._now(), where))
        if fetch.seconds >= self._threshold:
            extra = {"tries": fetch.tries, "failure": fetch.failure}
            self._note("GET", fetch.key, fetch.start, fetch.length, fetch.seconds, 0, where, extra)

    def disk_read(self, request: FetchRequest, seconds: float) -> None:
        """A read of the cache that took a part of the threshold."""
        end = request.start + request.length
        self._claims.append(_Claim(request.version.key, request.start, end, self._now(), {"disk": seconds * 1e3}))

    def _explain(self, key: bytes | None, read: Ended) -> dict[str, float]:
        """Milliseconds by reason: the longest of the parts that ended while it waited, as they ran beside each other."""
        left = read.seconds * 1e3
        longest: dict[str, float] = {}
        since = self._now() - read.seconds
        for claim in self._claims:
            meets = claim.key == key and claim.start < read.offset + read.size and claim.end > read.offset
            if meets and claim.ended >= since:
                for reason, spent in claim.where.items():
                    longest[reason] = max(longest.get(reason, 0.0), spent)
        where = {}
        for reason in ("retry", "network", "disk", "queue"):  # they may have begun before the read did
            where[reason] = min(left, longest.get(reason, 0.0))
            left -= where[reason]
        return {**where, "other": left}

    def _note(
        self,
        operation: str,
        key: bytes | None,
        offset: int,
        size: int,
        seconds: float,
        code: int,
        where: dict[str, float],
        extra: dict[str, Any] | None = None,
    ) -> None:
        if len(self._lines) >= WAITING:
            self._lost += 1
            return
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "operation": operation,
            "path": None if key is None else os.fsdecode(key.removeprefix(self._prefix)),
            "offset": offset,
            "size": size,
            "ms": round(seconds * 1e3, 3),
            "errno": errno.errorcode.get(code, str(code)) if code else "",
            "where": {reason: round(spent, 3) for reason, spent in where.items()},
            **(extra or {}),
        }
        self._lines.append(json.dumps(line))

    # -- writing

    async def run(self, started: Callable[[], None]) -> None:
        """Writes what comes until it is cancelled, and then the rest."""
        started()
        try:
            while True:
                await trio.sleep(_EVERY)
                await self._flush()
        finally:
            with trio.move_on_after(1, shield=True):
                await self._flush()

    async def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            await trio.to_thread.run_sync(functools.partial(append, self._path, lines), abandon_on_cancel=True)
        except OSError as error:
            self._lost += len(lines)
            if not self._problem:
                log.warning("the slow log %s cannot be written: %s", self._path, error.strerror)
            self._problem = error.strerror or str(error)
        else:
            self._written += len(lines)
            self._problem = ""


def append(path: Path, lines: Iterable[str], largest: int = LARGEST) -> None:
    """Appends lines to a file that only its owner can read; one that has grown too large is kept as .1. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "a", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        full = os.fstat(descriptor).st_size >= largest
    if full:
        os.replace(path, path.with_name(path.name + ".1"))
