"""What memory and store answer, and whether it is still to be believed. Synchronous; None means that OSS must be asked.

`since` in every signature: what was asked for at that time or later counts as fresh whatever its TTL is, so that an answer
with a TTL of zero can be given once. math.inf: only the TTL counts.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, Protocol

from ossmount.config import MetadataConfig
from ossmount.errors import StaleNode
from ossmount.metadata import keys, records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.interface import Listed, Named
from ossmount.metadata.keys import Target
from ossmount.metadata.records import Child
from ossmount.metadata.transaction import Lookup, Rows
from ossmount.metadata.tree import Tree
from ossmount.model import Absent, Found, Kind

BATCH = 2000  # names in one answer to list()
_NEVER = -math.inf


class Known(NamedTuple):
    """The names of a directory are known without a gap below `high` and below `blocked`."""

    high: bytes | None  # a position; None: to the end
    blocked: bytes | None  # the first name whose directory would stand at or behind high
    time: float  # of the oldest listing in it


Pairs = list[tuple[bytes, bytes]]  # as Rows.take() gives them
Strings = list[bytes]
_new_named = partial(tuple.__new__, Named)  # from a tuple of all fields, in a third of the time


class Requests(Protocol):
    """What is known of the requests that were made."""

    def headed(self, directory: int, stored: bytes, *, exists: bool) -> float:
        """When HEAD said last that an object exists, or that it does not."""
        ...

    def note_hidden(self, hidden: Sequence[bytes]) -> None:
        """Keys that no path can show."""
        ...

    def read_ahead(self, directory: int, high: bytes | None, newer_than: float) -> None:
        """Somebody lists the directory, which is known up to the position high."""
        ...


class Answers:
    """Reads the tree against the TTLs."""

    def __init__(
        self,
        tree: Tree,
        config: MetadataConfig,
        clock: Callable[[], float],
        requests: Requests,
    ) -> None:
        self._tree = tree
        self._config = config
        self._clock = clock
        self._requests = requests
        self.file_ttl = min(config.entry_ttl, config.attr_ttl)  # a Found carries attributes and entry alike
        self.gone: set[int] = set()  # versions that turned out to be gone and that the store still calls current

    def _left(self, seen: float, ttl: float) -> float:
        """Seconds for which what was seen then may be believed; at most the TTL, whatever clocks did."""
        if ttl == math.inf:
            return math.inf
        age = self._clock() - seen
        return ttl - age if 0 <= age < ttl else 0.0

    def fresh(self, seen: float, ttl: float, since: float) -> bool:
        return seen > _NEVER and (since <= seen <= self._clock() or self._left(seen, ttl) > 0)

    def seen(
        self, parent: int, name: bytes, child: Child | None, *, directory: bool, coverage: Coverage | None = None
    ) -> float:
        """When one side of a name was last asked for; minus infinity when it is unknown."""
        coverage = self._tree.coverage(parent) if coverage is None else coverage
        seen = coverage.at(name + b"/" if directory else name)
        if directory:  # a key below it may have been seen where the page did not show its own position
            return seen if child is None else max(seen, child.validated)
        headed = self._requests.headed(parent, name, exists=child is not None)
        if child is None:
            return max(seen, headed)
        if child.id in self.gone:
            return _NEVER
        if self._tree.is_target(child):  # listings do not show what becomes of it
            return max(child.validated, headed) if child.link_etag else _NEVER
        return max(seen, headed)

    def name(self, parent: int, target: Target, since: float) -> Found | Absent | None:
        """What the store says of a name; None unless it is fresh or was asked for at `since` or later."""
        answer = self._judge(parent, target, since, self._tree.children(parent, target.stored), self._tree.coverage(parent))
        if isinstance(answer, Absent):
            # The caches and the store may be of two moments, one of them in the middle of a change. That a name exists
            # may be said a moment too long; that it does not, of a name that has just got a new version, never.
            answer = self._judge(parent, target, since, *self._tree.store.snapshot(parent, target.stored))
        return answer

    def _judge(self, parent: int, target: Target, since: float, found: Lookup, coverage: Coverage) -> Found | Absent | None:
        name = target.stored
        directory, file = found
        absent = math.inf  # seconds for which its absence may be believed
        ttl = self._config.negative_ttl if file is None else self.file_ttl
        if target.directory or target.shadowed:
            seen = self.seen(parent, name, directory, directory=True, coverage=coverage)
            if not self.fresh(seen, self._config.entry_ttl if directory else ttl, since):
                return None
            if target.directory and directory is not None:
                node = self._tree.node(parent, name, directory, directory=True)
                return Found(node, self._left(seen, self._config.entry_ttl))
            if (directory is None) == target.shadowed:
                return self._absent(seen)
            absent = self._left(seen, self._config.entry_ttl if directory else ttl)
        if not target.file:
            return Absent(min(absent, self._config.negative_ttl))
        seen = self.seen(parent, name, file, directory=False, coverage=coverage)
        if not self.fresh(seen, ttl, since):
            return None
        left = min(absent, self._left(seen, ttl))
        return Absent(left) if file is None else Found(self._tree.node(parent, name, file, directory=False), left)

    def _absent(self, seen: float) -> Absent:
        return Absent(self._left(seen, self._config.negative_ttl))

    def name_seen(self, parent: int, target: Target) -> bool:
        """Whether anything was ever known of a name."""
        coverage = self._tree.coverage(parent)
        return max(coverage.at(target.stored), coverage.at(target.stored + b"/")) > _NEVER

    def listing_seen(self, node: int, after: bytes) -> bool:
        """Whether the names behind one were ever known."""
        cursor = self.cursor(after)
        return self._tree.coverage(node).reach(cursor.stored and cursor.stored + b"\0", _NEVER) is not None

    def listed(self, node: int) -> Listed:
        reach = self._tree.coverage(node).reach(b"", _NEVER)
        if reach is None or reach.high is not None:
            return Listed(0, math.inf)
        left = self._left(reach.time, self._config.entry_ttl)
        return Listed(int(reach.time * 1e9), left) if left else Listed(int(self._clock() * 1e9), math.inf)

    def node(self, node: int, since: float) -> Found | None:
        found = self._tree.current(node)
        if found is None or node in self.gone:
            raise StaleNode(f"node {node} is gone or was replaced")
        location, child = found
        seen = self.seen(location.parent, location.name, child, directory=location.directory)
        if not self.fresh(seen, self._config.attr_ttl, since):
            return None
        answer = self._tree.node(location.parent, location.name, child, directory=location.directory)
        return Found(answer, self._left(seen, self._config.attr_ttl))

    def cursor(self, after: bytes) -> Target:
        if not after:
            return Target(b"", directory=False, file=False, shadowed=False)
        return keys.target_of(after) or Target(after, directory=False, file=True, shadowed=False)

    def known(self, node: int, cursor: Target, since: float) -> Known | None:
        """How far the names behind the cursor are known without a gap; None when nothing is known there."""
        return self._known(self._tree.coverage(node), cursor, since)

    def _known(self, coverage: Coverage, cursor: Target, since: float) -> Known | None:
        oldest = min(self._clock() - self._config.entry_ttl, math.nextafter(since, _NEVER))
        reach = coverage.reach(cursor.stored and cursor.stored + b"\0", oldest)
        if reach is None:
            return None
        for name in keys.blocked_names(reach.high) if reach.high is not None else ():
            if name > cursor.stored and coverage.at(name + b"/") <= oldest:
                return Known(reach.high, name, reach.time)
        return Known(reach.high, None, reach.time)

    def names(self, node: int, after: bytes, since: float, links: Strings) -> Sequence[Named] | None:
        """The names behind one, as far as they are known; None when OSS must be asked for the next one.

        Then `links` holds the names whose targets must be asked for first.
        """
        cursor = self.cursor(after)
        with self._tree.store.scan(node, cursor.stored) as (coverage, children):
            known = self._known(coverage, cursor, since)
            if known is None:
                return None
            rows = self._rows(node, cursor, children, known, since, links)
        self._requests.read_ahead(node, known.high, self._clock() - self._config.entry_ttl)
        return rows if not links and (rows or known.high is None) else None

    def _rows(self, node: int, cursor: Target, children: Rows, known: Known, since: float, links: Strings) -> list[Named]:
        bound = known.blocked or known.high
        entry_left, file_left = self._left(known.time, self._config.entry_ttl), self._left(known.time, self.file_ttl)
        rows: list[Named] = []
        beside: bytes | None = None  # the directory just met
        unpack, split = records.unpack_listed, records.split_child_key
        while not rows and (pairs := children.take(BATCH)):  # once, unless none of so many can be shown
            plain = self._plain_rows(cursor, pairs, bound, file_left) if beside is None else None
            if plain:
                return plain
            for key, record in pairs:
                name, directory = split(key)
                if bound is not None and name >= bound:
                    return rows
                if directory:
                    beside = name
                if name == cursor.stored and (directory or not cursor.directory or (cursor.file and beside != name)):
                    continue  # but the object that the directory at the cursor shadows comes now
                kind, left = (Kind.DIRECTORY, entry_left) if directory else (Kind.FILE, file_left)
                shown: bytes | None = name
                if name.endswith(keys.SUFFIX) or (beside == name and not directory):
                    shown = keys.shown_name(name, kind, shadowed=beside == name)
                    if shown is None:
                        self._requests.note_hidden([self._tree.prefix(node) + name])
                        continue
                number, size, mtime_ns, special = unpack(record)
                if special:
                    kind, left, fresh = self._special(node, name, records.unpack_child(record), left, since)
                    if not fresh:
                        links.append(name)
                rows.append(_new_named((shown, number, kind, size, mtime_ns, left)))
        return rows

    @staticmethod
    def _plain_rows(cursor: Target, pairs: Pairs, bound: bytes | None, left: float) -> list[Named] | None:
        """The same where all that follows are plain objects with plain names, in a third of the time; else None."""
        plain = records.unpack_plain(pairs)
        if plain is None or keys.SUFFIX in b"/".join(plain[0]):
            return None
        names, numbers, sizes, mtimes = plain
        rows = list(map(_new_named, zip(names, numbers, repeat(Kind.FILE), sizes, mtimes, repeat(left))))
        if bound is not None:
            del rows[bisect_left(names, bound) :]
        return rows[1:] if names[0] == cursor.stored else rows

    def _special(self, node: int, name: bytes, child: Child, left: float, since: float) -> tuple[Kind, float, bool]:
        """Kind and validity of an object of a type or class of its own; not fresh: what it points to must be asked for."""
        if child.object_type != "Symlink":
            return Kind.FILE, left, True
        if not self._tree.is_target(child):
            return Kind.SYMLINK, left, True
        asked = self.seen(node, name, child, directory=False)
        return Kind.FILE, min(left, self._left(asked, self.file_ttl)), self.fresh(asked, self.file_ttl, since)
