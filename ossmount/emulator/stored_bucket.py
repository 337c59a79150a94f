"""A writable bucket: an SQLite index and one file for each body.

    BUCKET/index.sqlite     keys as BLOBs, which SQLite compares byte by byte, as OSS orders them
    BUCKET/data/ab/abcd…    bodies under random names, so that any key of any bytes can be kept

A body is complete before the index names it, and is never changed afterwards (an append only adds bytes behind the size
that older readers go by), so an open descriptor always shows one version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fastcrc

from ossmount.emulator.errors import OssError
from ossmount.emulator.values import BucketInfo, ObjectRecord

INDEX = "index.sqlite"
_DATA = "data"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    key BLOB PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, mtime INTEGER NOT NULL, crc64 TEXT,
    object_type TEXT NOT NULL, storage_class TEXT NOT NULL, headers TEXT NOT NULL, blob TEXT NOT NULL,
    target BLOB NOT NULL, restored INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs ON objects (blob);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, key BLOB NOT NULL, started INTEGER NOT NULL, storage_class TEXT NOT NULL, headers TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, crc64 TEXT NOT NULL,
    mtime INTEGER NOT NULL, blob TEXT NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
"""
_INSERT = "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?,?,?,?,?,?)"
_FIRST_PAGE: Final = 8  # rows fetched at first by a scan, which often ends at once (a delimiter); then ever more
_LAST_PAGE: Final = 1024


class Body:
    """A body being received: its file, and MD5, CRC-64 and size as they grow. abandon() removes it, keep() makes it stay."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.size = 0
        self.crc64 = 0
        self._path = path
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes) -> None:
        self._md5.update(data)
        self.crc64 = fastcrc.crc64.xz(data, self.crc64) if self.size else fastcrc.crc64.xz(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    @property
    def etag(self) -> str:
        return self._md5.hexdigest().upper()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def abandon(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class StoredBucket:
    """One bucket in one folder."""

    def __init__(self, folder: Path, *, create: bool = False, acl: str = "", storage_class: str = "") -> None:
        self.name = folder.name
        self.folder = folder
        self.lock = threading.RLock()
        if create:
            folder.mkdir()
        self._data = folder / _DATA
        self._data.mkdir(exist_ok=True)
        self.db = sqlite3.connect(folder / INDEX, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")  # outlives the death of the process, not that of the machine
        self.db.executescript(_SCHEMA)
        with self.lock:
            defaults = {"created": str(int(time.time())), "acl": acl or "private", "class": storage_class or "Standard"}
            self.db.executemany("INSERT OR IGNORE INTO about VALUES (?,?)", defaults.items())
        self._info = self._read_info()
        self._remove_orphans()

    def __repr__(self) -> str:
        return f"StoredBucket({self.name!r})"

    def close(self) -> None:
        with self.lock:
            self.db.close()

    @property
    def info(self) -> BucketInfo:
        return self._info

    def set_acl(self, acl: str) -> None:
        with self.lock:
            self.db.execute("INSERT OR REPLACE INTO about VALUES ('acl', ?)", (acl,))
            self._info = self._read_info()

    def _read_info(self) -> BucketInfo:
        about = dict(self.db.execute("SELECT name, value FROM about").fetchall())
        return BucketInfo(self.name, int(about["created"]), about["acl"], about["class"])

    # Reading

    def find(self, key: bytes) -> ObjectRecord | None:
        with self.lock:
            row = self.db.execute("SELECT * FROM objects WHERE key = ?", (key,)).fetchone()
        return _record(row) if row else None

    def open(self, key: bytes) -> tuple[ObjectRecord, int] | None:
        with self.lock:  # so that no replacement removes the body between the two steps
            record = self.find(key)
            if record is None:
                return None
            return record, self.open_blob(record.blob) if record.blob else -1

    def open_blob(self, blob: str) -> int:
        return os.open(self.blob_path(blob), os.O_RDONLY | os.O_CLOEXEC)

    def blob_path(self, blob: str) -> str:
        return f"{self._data}/{blob[:2]}/{blob}"

    def cursor(self) -> StoredBucket:
        return self

    def scan(self, prefix: bytes, start: bytes) -> Iterator[ObjectRecord]:
        position, size = max(prefix, start), _FIRST_PAGE
        while True:
            with self.lock:
                rows = self.db.execute("SELECT * FROM objects WHERE key >= ? ORDER BY key LIMIT ?", (position, size)).fetchall()
            for row in rows:
                if not row[0].startswith(prefix):
                    return
                yield _record(row)
            if len(rows) < size:
                return
            position, size = rows[-1][0] + b"\0", min(size * 8, _LAST_PAGE)

    def stat(self) -> tuple[int, int, int]:
        with self.lock:
            size, count = self.db.execute("SELECT COALESCE(SUM(size), 0), COUNT(*) FROM objects").fetchone()
            (uploads,) = self.db.execute("SELECT COUNT(*) FROM uploads").fetchone()
        return size, count, uploads

    # Writing

    def new_body(self) -> Body:
        return Body(*self._new_path())

    def link_body(self, source: StoredBucket, blob: str) -> str:
        """A second name for a body that never changes, so that a copy costs no bytes."""
        name, path = self._new_path()
        os.link(source.blob_path(blob), path)
        return name

    def _new_path(self) -> tuple[str, str]:
        name = uuid.uuid4().hex
        path = self.blob_path(name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path))
        return name, path

    def insert(self, record: ObjectRecord, *, overwrite: bool = True) -> None:
        """Makes the record what its key stands for. Raises FileAlreadyExists."""
        with self.lock:
            old = self.find(record.key)
            if old is not None and not overwrite:
                raise OssError("FileAlreadyExists")
            self.db.execute(_INSERT, _row(record))
            if old is not None and old.blob != record.blob:
                self.discard_blob(old.blob)

    def delete(self, key: bytes) -> bool:
        with self.lock:
            old = self.find(key)
            if old is None:
                return False
            self.db.execute("DELETE FROM objects WHERE key = ?", (key,))
            self.discard_blob(old.blob)
            return True

    def insert_many(self, records: Sequence[ObjectRecord]) -> None:
        """Inserts new objects in one transaction; they may share one body. A key that is there already is replaced."""
        with self.lock:
            old = [found for record in records if (found := self.find(record.key))]
            self.db.execute("BEGIN")
            try:
                self.db.executemany(_INSERT, map(_row, records))
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
            for record in old:
                self.discard_blob(record.blob)

    def discard_blob(self, blob: str) -> None:
        """Removes a body that no object has any more."""
        if blob and not self.db.execute("SELECT 1 FROM objects WHERE blob = ? LIMIT 1", (blob,)).fetchone():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.blob_path(blob))

    def append(self, key: bytes, position: int, data: bytes, headers: Mapping[str, str], storage_class: str) -> ObjectRecord:
        """Adds data behind an appendable object, which the first append creates."""
        with self.lock:
            old = self.find(key)
            if old is not None and old.object_type != "Appendable":
                raise OssError("ObjectNotAppendable")
            size = old.size if old else 0
            if position != size:
                raise OssError("PositionNotEqualToLength", headers={"x-oss-next-append-position": str(size)})
            if old is None:
                body = self.new_body()
                body.close()
                old = ObjectRecord(
                    key, 0, body.etag, 0, fastcrc.crc64.xz(b""), "Appendable", storage_class, dict(headers), body.name
                )
            self._write_behind(old, data)
            crc64 = fastcrc.crc64.xz(data, old.crc64) if old.size else fastcrc.crc64.xz(data)
            digest = hashlib.md5(old.etag.encode() + data, usedforsecurity=False).hexdigest().upper()
            new = old._replace(size=size + len(data), crc64=crc64, etag=digest, mtime=int(time.time()))
            self.db.execute(_INSERT, _row(new))
            return new

    def _write_behind(self, record: ObjectRecord, data: bytes) -> None:
        fd = os.open(self.blob_path(record.blob), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, record.size)  # what a failed append may have left
            rest, offset = memoryview(data), record.size
            while rest:
                written = os.pwrite(fd, rest, offset)
                rest, offset = rest[written:], offset + written
        finally:
            os.close(fd)

    def _remove_orphans(self) -> None:
        """Bodies whose upload never ended, because the server was killed."""
        with self.lock:
            known = {row[0] for row in self.db.execute("SELECT blob FROM objects UNION ALL SELECT blob FROM parts")}
        for folder in self._data.iterdir():
            for path in folder.iterdir():
                if path.name not in known:
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()


def _record(row: tuple[Any, ...]) -> ObjectRecord:
    key, size, etag, mtime, crc64, kind, storage_class, headers, blob, target, restored = row
    crc = None if crc64 is None else int(crc64)
    return ObjectRecord(key, size, etag, mtime, crc, kind, storage_class, json.loads(headers), blob, target, bool(restored))


def _row(record: ObjectRecord) -> tuple[Any, ...]:
    # SQLite's integers are signed 64-bit, a CRC-64 is not: it is kept as text.
    crc64 = None if record.crc64 is None else str(record.crc64)
    return (*record[:4], crc64, *record[5:7], json.dumps(dict(record.headers)), *record[8:10], int(record.restored))
