"""Whole small files fetched before they are opened, in an order that somebody tells.

A bounded distance ahead of the readers: by bytes that nobody has read yet, and by fetches in flight, so that demand finds
free connections. The order may be wrong or partial: a file that readers have passed by gives way to those ahead of them, one
that is read before its turn is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ossmount.model import Version

CONCURRENT = 32  # fetches; at 15 ms latency 2,100 files/s, twice what one reader process opens

Start = Callable[[Version], bool]


class LookAhead:
    """The files told and not read yet. Implements pages.Account: `unread` are the bytes fetched and not read."""

    def __init__(self, budget: int, largest: int, start: Start, has: Callable[[Version], bool], drop: Start) -> None:
        """`start` fetches a version on this account, False without room; `has` tells whether there is anything of it in
        memory; `drop` drops what is in memory of it and not held, False when something is."""
        self.unread = 0
        self._budget = budget
        self._largest = largest
        self._start = start
        self._has = has
        self._drop = drop
        self._told: deque[Version] = deque()
        self._under_way: set[Version] = set()
        self._fetched: dict[Version, int] = {}  # not read yet: when it was started
        self._started = 0  # how many were
        self._reached = 0  # the latest one that was read
        self._advancing = False
        self.left_out = 0
        self.passed_by = 0

    @property
    def waiting(self) -> int:
        """Files told that are not fetched or under way yet."""
        return len(self._told)

    def add(self, versions: Iterable[Version]) -> None:
        """More files, to be read after those told before."""
        self._told.extend(versions)
        self.advance()

    def clear(self) -> None:
        """Forgets what was told. What was fetched already and not read gives way."""
        self._told.clear()
        for version in list(self._fetched):
            self._pass_by(version)

    def read(self, version: Version) -> None:
        """A file of this account is being read."""
        number = self._fetched.pop(version, None)
        if number is not None:
            self._reached = max(self._reached, number)

    def ended(self, version: Version) -> None:
        """The fetch of a version has ended, in whichever way."""
        if version in self._under_way:
            self._under_way.remove(version)
            if not self._has(version):
                self._fetched.pop(version, None)
        self.advance()

    def advance(self) -> None:
        """Fetches as far ahead as there is room. Cheap when there is nothing to do."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._told and len(self._under_way) < CONCURRENT and self._next():
                pass
        finally:
            self._advancing = False

    def _next(self) -> bool:
        """Starts or leaves out the next file; False when it has to wait."""
        version = self._told[0]
        if not 0 < version.size <= self._largest or self._has(version):
            self._told.popleft()
            self.left_out += 1
            return True
        if self.unread + version.size > self._budget:
            first, number = next(iter(self._fetched.items()), (None, 0))
            return first is not None and number < self._reached - len(self._fetched) // 2 and self._pass_by(first)
        while self._fetched and not self._has(oldest := next(iter(self._fetched))):  # gave way to demand
            del self._fetched[oldest]
        self._told.popleft()
        self._under_way.add(version)
        self._fetched[version] = self._started
        self._started += 1
        if not self._start(version):
            self._under_way.remove(version)
            del self._fetched[version]
            self._told.appendleft(version)
            return False
        return True

    def _pass_by(self, version: Version) -> bool:
        self.passed_by += 1
        del self._fetched[version]
        return self._drop(version)

    def __repr__(self) -> str:
        return f"<LookAhead {len(self._told)} told, {len(self._under_way)} under way, {self.unread} bytes unread>"
