"""What a store knows of a source, in key order, for a snapshot.

Reads the files of a store that a daemon may have open: LMDB's readers and its writer do not wait for each other.
"""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from ossmount.metadata import records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.records import Child
from ossmount.metadata.store import MAP_SIZE, ROOT
from ossmount.metadata.transaction import Databases, read_range
from ossmount.model import ObjectInfo


class IncompleteError(Exception):
    """The store does not know all names of the source."""


class _Directory(NamedTuple):
    """One that comes next."""

    number: int
    prefix: bytes


class Export:
    """One consistent view of a store."""

    def __init__(self, txn: Any, databases: Databases, prefix: bytes) -> None:
        self._txn = txn
        self._db = databases
        self._prefix = prefix
        self.time = math.inf  # of the oldest listing met so far

    def check(self) -> float:
        """When the oldest part was listed, once it is certain that all is known. Raises IncompleteError."""
        waiting = [(ROOT, self._prefix)]
        while waiting:
            number, prefix = waiting.pop()
            self._cover(number, prefix)
            for name, directory, child in read_range(self._txn, self._db, number, b""):
                if directory:
                    waiting.append((child.id, prefix + name + b"/"))
        return self.time

    def objects(self) -> Iterator[ObjectInfo]:
        """Every object below the prefix in key order; an empty directory as its marker."""
        open_ = [self._entries(_Directory(ROOT, self._prefix))]  # a stack: keys are up to 512 directories deep
        while open_:
            found = next(open_[-1], None)
            if found is None:
                open_.pop()
            elif isinstance(found, _Directory):
                open_.append(self._entries(found))
            else:
                yield found

    def _cover(self, number: int, prefix: bytes) -> None:
        data = self._txn.get(records.pack_id(number), db=self._db.coverage)
        coverage = Coverage() if data is None else Coverage.unpack(data)
        reach = coverage.reach(b"", -math.inf)
        if reach is None or reach.high is not None:
            shown = prefix.decode("utf-8", "backslashreplace") or "/"
            raise IncompleteError(f"not all names below {shown} were listed yet")
        self.time = min(self.time, reach.time)

    def _entries(self, directory: _Directory) -> Iterator[ObjectInfo | _Directory]:
        """Names sort by themselves, keys with the "/" behind a directory's name: `train-0` stands before `train/`."""
        number, prefix = directory
        waiting: list[tuple[bytes, int]] = []  # directories whose turn comes later
        empty = True
        for name, is_directory, child in read_range(self._txn, self._db, number, b""):
            empty = False
            while waiting and waiting[0][0] < name:
                yield _next(waiting, prefix)
            if is_directory:
                heapq.heappush(waiting, (name + b"/", child.id))
            else:
                yield _object(prefix + name, child)
        while waiting:
            yield _next(waiting, prefix)
        if empty and number != ROOT:
            yield ObjectInfo(prefix, 0, 0, "-")


def _next(waiting: list[tuple[bytes, int]], prefix: bytes) -> _Directory:
    position, number = heapq.heappop(waiting)
    return _Directory(number, prefix + position)


def _object(key: bytes, child: Child) -> ObjectInfo:
    etag = child.link_etag or child.etag
    return ObjectInfo(key, child.size, child.mtime_ns, etag, child.object_type or "Normal", child.storage_class or "Standard")


@contextlib.contextmanager
def open_export(path: Path, prefix: bytes) -> Iterator[Export]:
    """A view of the store in a folder (that of `ossmount status`). Raises OSError for one that cannot be read."""
    try:
        env = lmdb.open(str(path), map_size=MAP_SIZE, max_dbs=8, readonly=True, mode=0o600)
    except lmdb.Error as error:
        raise OSError(f"the metadata store {path} cannot be read: {error}") from None
    try:
        databases = Databases(*(env.open_db(name.encode(), create=False) for name in Databases._fields))
        with env.begin() as txn:
            yield Export(txn, databases, prefix)
    except lmdb.Error as error:
        raise OSError(f"the metadata store {path} cannot be read: {error}") from None
    finally:
        env.close()
