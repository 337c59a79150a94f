"""One LMDB write transaction, in the terms of the namespace. Lives in one callable on the writer's thread."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ossmount.metadata import keys, records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.pages import Split, Stretch
from ossmount.metadata.records import Child, Location, Retired
from ossmount.model import ObjectInfo

NEXT_ID = b"next_id"
NOTES = b"note-"
_CHUNK = 32  # children that are read at a time, at first


class Databases(NamedTuple):
    """The named databases of the environment."""

    meta: Any
    children: Any
    nodes: Any
    coverage: Any
    retired: Any


class Change(NamedTuple):
    """What a transaction did to one directory."""

    directory: int
    names: list[bytes]  # stored names that stand for something else now, or for nothing, or did not exist before
    gone: list[tuple[int, int, bytes, bool]]  # (id, parent, stored name, directory) of what is replaced or removed
    told: bool  # the directory's listing as it was known before is no longer true


class Forgotten(NamedTuple):
    """What of a directory must be asked again."""

    changes: list[Change]
    names: list[tuple[bytes, bool]]  # stored name, and whether it is the directory's side
    directories: list[int]  # the ids of those among them
    rest: bytes | None  # where to go on; None: that was all


class Lookup(NamedTuple):
    """Both sides of a stored name."""

    directory: Child | None
    file: Child | None


def read_children(txn: Any, databases: Databases, parent: int, name: bytes) -> Lookup:
    """Both sides of a name, with one or two B-tree descents."""
    directory = txn.get(records.child_key(parent, name, True), db=databases.children)
    file = txn.get(records.child_key(parent, name, False), db=databases.children)
    return Lookup(
        None if directory is None else records.unpack_child(directory), None if file is None else records.unpack_child(file)
    )


class Rows:
    """The children from a stored name on, in byte order of the names, the directory before the object.

    Keys and records as they are packed, many at a time: 0.3 µs each, one by one 0.7. Not to be used after the transaction.
    """

    def __init__(self, txn: Any, databases: Databases, parent: int, start: bytes) -> None:
        self._end = records.pack_id(parent + 1)
        cursor = txn.cursor(db=databases.children)
        found = cursor.set_range(records.pack_id(parent) + start)
        self._pairs: Iterator[tuple[bytes, bytes]] = cursor.iternext(keys=True, values=True) if found else iter(())

    def take(self, most: int) -> list[tuple[bytes, bytes]]:
        """The next ones: keys (see records.split_child_key) and records. Fewer than `most` only at the end."""
        pairs: list[tuple[bytes, bytes]] = []
        # By doubling, since what lies behind the end is read in vain: the children of other directories.
        while len(pairs) < most and (more := list(islice(self._pairs, min(most - len(pairs), len(pairs) or _CHUNK)))):
            pairs += more
            if more[-1][0] >= self._end:
                self._pairs = iter(())
                del pairs[bisect_left(pairs, (self._end, b"")) :]
        return pairs

    def __iter__(self) -> Iterator[tuple[bytes, bool, bytes]]:
        """Name, whether it is the directory's side, and record."""
        while pairs := self.take(_CHUNK):
            for key, record in pairs:
                yield *records.split_child_key(key), record


def read_range(txn: Any, databases: Databases, parent: int, start: bytes) -> Iterator[tuple[bytes, bool, Child]]:
    """The same, unpacked."""
    for name, directory, record in Rows(txn, databases, parent, start):
        yield name, directory, records.unpack_child(record)


def read_retired(txn: Any, databases: Databases, below: int | None, limit: int) -> list[Retired]:
    """The greatest retired ids, of those less than `below` where it is given."""
    found: list[Retired] = []
    with txn.cursor(db=databases.retired) as cursor:
        behind = below is not None and cursor.set_range(records.pack_id(below))
        there = cursor.prev() if behind else cursor.last()
        while there and len(found) < limit:
            key, time = cursor.item()
            location = records.unpack_location(txn.get(key, db=databases.nodes))
            found.append(Retired(records.unpack_id(key), records.unpack_time(time), location.parent))
            there = cursor.prev()
    return found


class Transaction:
    """Merges what OSS said into the store. `slack`: see Coverage.including; `now` is in seconds since the epoch."""

    def __init__(self, txn: Any, databases: Databases, slack: float, now: float) -> None:
        self._txn = txn
        self._db = databases
        self._slack = slack
        self._now = now
        self._next = records.unpack_id(txn.get(NEXT_ID, db=databases.meta))
        self._new_nodes: list[tuple[bytes, bytes]] = []

    def _finish(self, changes: list[Change]) -> list[Change]:
        if self._new_nodes:
            with self._txn.cursor(db=self._db.nodes) as cursor:
                cursor.putmulti(self._new_nodes, append=True)  # new ids are the greatest
            self._new_nodes = []
            self._txn.put(NEXT_ID, records.pack_id(self._next), db=self._db.meta)
        return changes

    def merge(self, root: int, split: Split, time: float) -> list[Change]:
        """Makes the store say what a page said, which was asked for at `time` below the directory `root`."""
        ids: dict[bytes, int | None] = {split.stretches[0].prefix: root}
        fresh: set[int] = set()
        changes: list[Change] = []
        for stretch in split.stretches:
            number = ids.get(stretch.prefix)
            if number is None and stretch.prefix not in ids:
                number = self._find_directory(stretch.prefix, ids)
            if number is None:
                continue
            change, found = self._merge_stretch(number, stretch, time, new=number in fresh)
            for name, (child, added) in found.items():
                ids[stretch.prefix + name + b"/"] = child
                if added:
                    fresh.add(child)
            changes.append(change)
        return self._finish(changes)

    def _find_directory(self, prefix: bytes, ids: dict[bytes, int | None]) -> int | None:
        """A directory that the page went through without seeing anything in it; None when the store has none either."""
        above, _, name = prefix[:-1].rpartition(b"/")
        parent = ids.get(above + b"/" if above else b"")
        child = self._child(parent, name, True) if parent is not None else None
        ids[prefix] = None if child is None else child.id
        return ids[prefix]

    def _merge_stretch(
        self, number: int, stretch: Stretch, time: float, *, new: bool
    ) -> tuple[Change, dict[bytes, tuple[int, bool]]]:
        coverage = Coverage() if new else self.coverage(number)
        change = Change(number, [], [], coverage.overlaps(stretch.low, stretch.high))
        existing = {} if new else self._between(number, stretch.low, stretch.high)
        later = any(i.time > time for i in coverage.intervals)  # a newer listing was merged already: it is right
        newer = {n for n in existing if coverage.at(n[0] + b"/" * n[1]) > time} if later else set()
        puts: list[tuple[bytes, bytes]] = []
        files: Sequence[tuple[bytes, ObjectInfo]] = stretch.files
        if existing:
            files = self._put_known_files(change, puts, existing, newer, files, time)
        if later:
            files = [(name, info) for name, info in files if coverage.at(name) <= time]
        self._put_new_files(change, puts, files, time)
        found: dict[bytes, tuple[int, bool]] = {}
        for name in stretch.directories:
            old = existing.pop((name, True), None) or (None if new else self._child(number, name, True))
            found[name] = (self._put_directory(change, puts, name, old, time), old is None)
        for (name, directory), old in existing.items():
            if old.validated <= time and (name, directory) not in newer:
                self._remove(change, name, directory, old)
        if puts:
            with self._txn.cursor(db=self._db.children) as cursor:
                cursor.putmulti(sorted(puts))
        # An answer about one name keeps its own time: who asked for it may believe nothing that is older.
        slack = 0.0 if stretch.high == stretch.low + b"\0" else self._slack
        known = coverage.including(stretch.low, stretch.high, time, slack)
        if known is not coverage:
            self._put_coverage(number, known)
        return change._replace(told=change.told and bool(change.names)), found

    def merge_head(self, parent: int, name: bytes, info: ObjectInfo | None, time: float) -> list[Change]:
        """Makes the store say what HEAD said of one object; None: it does not exist. Not where it knows that from later."""
        change = Change(parent, [], [], True)
        old = self._child(parent, name, False)
        if (old is not None and old.validated > time) or self.coverage(parent).at(name) > time:
            return []
        if info is None:
            if old is not None:
                self._remove(change, name, False, old)
        else:
            puts: list[tuple[bytes, bytes]] = []
            if info.object_type == "Symlink" and old is not None:
                self._put_target(change, puts, name, old, info, time)
            else:
                self._put_file(change, puts, name, old, info, time)
            for key, value in puts:
                self._txn.put(key, value, db=self._db.children)
        return self._finish([change._replace(told=bool(change.names))])

    def forget_version(self, parent: int, name: bytes, number: int) -> list[Change]:
        """The version `number` is gone; what the name stands for is unknown from now on."""
        change = Change(parent, [name], [], True)
        old = self._child(parent, name, False)
        if old is None or old.id != number:
            return []
        self._remove(change, name, False, old)
        self._put_coverage(parent, self.coverage(parent).without(name, name + b"\0"))
        return [change]

    def forget_directory(self, number: int, start: bytes, most: int) -> Forgotten:
        """Everything in a directory must be asked again; the ids stay. Some `most` names, from the `rest` of the last call
        on (b"" at first)."""
        rows = list(islice(read_range(self._txn, self._db, number, start), most + 1))
        rest: bytes | None = None
        if len(rows) > most:
            name, directory, _ = rows.pop()
            rest = records.child_key(number, name, directory).removeprefix(records.pack_id(number))
        for name, directory, child in rows:
            self._put_unseen(number, name, directory, child)
        if not start:
            self._put_coverage(number, Coverage())
        names = [(name, directory) for name, directory, _ in rows]
        change = Change(number, [name for name, _ in names], [], False)
        return Forgotten([change], names, [child.id for _, directory, child in rows if directory], rest)

    def forget_name(self, parent: int, name: bytes, directory: bool) -> list[Change]:
        """One side of a name must be asked for again; its id stays until it turns out to be another."""
        child = self._child(parent, name, directory)
        if child is not None:
            self._put_unseen(parent, name, directory, child)
        position = name + b"/" if directory else name
        self._put_coverage(parent, self.coverage(parent).without(position, position + b"\0"))
        return [Change(parent, [name], [], False)]

    def _put_unseen(self, parent: int, name: bytes, directory: bool, child: Child) -> None:
        if directory or child.link_etag:  # of the others only the coverage says when they were seen
            unseen = records.pack_child(child._replace(validated=-math.inf))
            self._txn.put(records.child_key(parent, name, directory), unseen, db=self._db.children)

    def prune(self, numbers: Iterable[int]) -> None:
        """Forgets retired ids for ever: nobody can name them."""
        for number in numbers:
            key = records.pack_id(number)
            if self._txn.delete(key, db=self._db.retired):
                self._txn.delete(key, db=self._db.nodes)

    def note(self, name: bytes, data: bytes) -> None:
        """Keeps a few bytes beside the names, see Store.noted()."""
        self._txn.put(NOTES + name, data, db=self._db.meta)

    def coverage(self, number: int) -> Coverage:
        data = self._txn.get(records.pack_id(number), db=self._db.coverage)
        return Coverage() if data is None else Coverage.unpack(data)

    def _put_coverage(self, number: int, coverage: Coverage) -> None:
        self._txn.put(records.pack_id(number), coverage.pack(), db=self._db.coverage)

    def _child(self, parent: int, name: bytes, directory: bool) -> Child | None:
        data = self._txn.get(records.child_key(parent, name, directory), db=self._db.children)
        return None if data is None else records.unpack_child(data)

    def _between(self, parent: int, low: bytes, high: bytes | None) -> dict[tuple[bytes, bool], Child]:
        """The children whose positions lie in [low, high)."""
        found: dict[tuple[bytes, bool], Child] = {}
        for name in keys.blocked_names(low):
            if (child := self._child(parent, name, True)) is not None and (high is None or name + b"/" < high):
                found[name, True] = child
        for name, directory, child in read_range(self._txn, self._db, parent, low.split(b"/")[0]):
            if high is not None and name >= high:
                break
            position = name + b"/" if directory else name
            if position >= low and (high is None or position < high):
                found[name, directory] = child
        return found

    def _new_id(self, parent: int, name: bytes, directory: bool) -> int:
        number = self._next
        self._next += 1
        self._new_nodes.append((records.pack_id(number), records.pack_location(Location(parent, directory, name))))
        return number

    def _put_known_files(
        self,
        change: Change,
        puts: list[tuple[bytes, bytes]],
        existing: dict[tuple[bytes, bool], Child],
        newer: set[tuple[bytes, bool]],
        files: Sequence[tuple[bytes, ObjectInfo]],
        time: float,
    ) -> list[tuple[bytes, ObjectInfo]]:
        """Takes those out of `existing` that are in it, puts them unless they are `newer`, and returns the others."""
        others: list[tuple[bytes, ObjectInfo]] = []
        for name, info in files:
            old = existing.pop((name, False), None)
            if old is None:
                others.append((name, info))
            elif old.validated <= time and (name, False) not in newer:  # nor was it asked for by itself since
                self._put_file(change, puts, name, old, info, time)
        return others

    def _put_new_files(
        self, change: Change, puts: list[tuple[bytes, bytes]], files: Sequence[tuple[bytes, ObjectInfo]], time: float
    ) -> None:
        """The same as _put_file() of each that had no child, in half the time."""
        first, parent = self._next, change.directory
        self._next += len(files)
        change.names.extend([name for name, _ in files])
        self._new_nodes.extend(records.new_nodes(first, parent, files))
        puts.extend(records.new_children(first, parent, files, time))

    def _put_file(
        self, change: Change, puts: list[tuple[bytes, bytes]], name: bytes, old: Child | None, info: ObjectInfo, time: float
    ) -> None:
        parent = change.directory
        if old is None:
            child = records.child_of(self._new_id(parent, name, False), info, time)
        elif (old.link_etag or old.etag) != info.etag:
            child = records.child_of(self._new_id(parent, name, False), info, time)
            self._retire(change, name, False, old)
        else:
            child = records.child_of(old.id, info, old.validated)
            if child == old or old.link_etag:
                return
        change.names.append(name)
        puts.append((records.child_key(parent, name, False), records.pack_child(child)))

    def _put_target(
        self, change: Change, puts: list[tuple[bytes, bytes]], name: bytes, old: Child, info: ObjectInfo, time: float
    ) -> None:
        """What a link points to is a version of its own; the link's ETag is kept to recognize it in listings."""
        number = old.id
        if not old.link_etag or old.etag != info.etag:
            number = self._new_id(change.directory, name, False)
            self._retire(change, name, False, old)
        child = records.child_of(number, info, time)._replace(link_etag=old.link_etag or old.etag)
        change.names.append(name)
        puts.append((records.child_key(change.directory, name, False), records.pack_child(child)))

    def _put_directory(
        self, change: Change, puts: list[tuple[bytes, bytes]], name: bytes, old: Child | None, time: float
    ) -> int:
        if old is not None:
            return old.id
        child = Child(self._new_id(change.directory, name, True), 0, 0, time)
        change.names.append(name)
        puts.append((records.child_key(change.directory, name, True), records.pack_child(child)))
        return child.id

    def _remove(self, change: Change, name: bytes, directory: bool, old: Child) -> None:
        self._txn.delete(records.child_key(change.directory, name, directory), db=self._db.children)
        change.names.append(name)
        self._retire(change, name, directory, old)
        if directory:
            self._remove_below(change, old.id)

    def _remove_below(self, change: Change, number: int) -> None:
        for name, directory, child in list(read_range(self._txn, self._db, number, b"")):
            self._txn.delete(records.child_key(number, name, directory), db=self._db.children)
            self._retire(change, name, directory, child, parent=number)
            if directory:
                self._remove_below(change, child.id)
        self._txn.delete(records.pack_id(number), db=self._db.coverage)

    def _retire(self, change: Change, name: bytes, directory: bool, old: Child, parent: int = 0) -> None:
        """An id stays resolvable to what it was; it never stands for anything else."""
        location = Location(parent or change.directory, directory, name, old)
        self._txn.put(records.pack_id(old.id), records.pack_location(location), db=self._db.nodes)
        self._txn.put(records.pack_id(old.id), records.pack_time(self._now), db=self._db.retired)
        change.gone.append((old.id, location.parent, name, directory))
