"""The folder that is served: its buckets, and direct access to their objects without HTTP."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ossmount.emulator.errors import OssError
from ossmount.emulator.plain_bucket import PlainBucket
from ossmount.emulator.stored_bucket import INDEX, StoredBucket
from ossmount.emulator.values import Bucket, ObjectRecord

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LOCK = ".ossmount-serve.lock"
MAX_KEY = 1023  # bytes


class Store:
    """All buckets of one folder. Safe on any thread.

    Raises ValueError where the folder cannot be served as asked. A folder is served by one process at a time (plain
    folders by any number).
    """

    def __init__(self, directory: Path, *, plain: bool = False) -> None:
        self.directory = directory
        self.plain = plain
        self._lock = threading.RLock()
        self._stored: dict[str, StoredBucket] = {}
        self._lock_fd = -1
        if plain:
            if not directory.is_dir():
                raise ValueError(f"{directory} is not a folder")
            return
        directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = _lock(directory)
        try:
            for folder in sorted(directory.iterdir()):
                if folder.is_dir() and _BUCKET_NAME.fullmatch(folder.name):
                    _refuse_plain_files(folder)
                    self._stored[folder.name] = StoredBucket(folder)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for bucket in self._stored.values():
            bucket.close()
        self._stored.clear()
        if self._lock_fd >= 0:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)  # also where a forked child still holds the descriptor
            os.close(self._lock_fd)
            self._lock_fd = -1

    # Buckets

    def bucket(self, name: str) -> Bucket:
        """The bucket for reading. Raises NoSuchBucket, InvalidBucketName."""
        if self.plain:
            if name not in self.names():
                raise OssError("NoSuchBucket", details={"BucketName": name})
            return PlainBucket(self.directory / name)
        return self.writable(name)

    def writable(self, name: str) -> StoredBucket:
        """The bucket for writing. Raises AccessDenied where plain files are served."""
        self._check_writable(name)
        with self._lock:
            if name not in self._stored:
                raise OssError("NoSuchBucket", details={"BucketName": name})
            return self._stored[name]

    def _check_writable(self, name: str) -> None:
        if self.plain:
            raise OssError("AccessDenied", "The server runs with --plain, which serves a folder read-only.")
        if not _BUCKET_NAME.fullmatch(name):
            raise OssError("InvalidBucketName", details={"BucketName": name})

    def names(self) -> list[str]:
        if self.plain:
            return sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir() and entry.name[0] != ".")
        with self._lock:
            return sorted(self._stored)

    def create_bucket(self, name: str, *, acl: str = "", storage_class: str = "") -> None:
        """Makes a bucket; one that is there already stays as it is, as OSS has it for its owner."""
        self._check_writable(name)
        with self._lock:
            if name not in self._stored:
                self._stored[name] = StoredBucket(self.directory / name, create=True, acl=acl, storage_class=storage_class)
            elif acl:
                self._stored[name].set_acl(acl)

    def delete_bucket(self, name: str) -> None:
        bucket = self.writable(name)
        with self._lock:
            if any(bucket.stat()[1:]):
                raise OssError("BucketNotEmpty", details={"BucketName": name})
            del self._stored[name]
            bucket.close()
            shutil.rmtree(bucket.folder)

    # Objects, for tests: the bucket is made when it is missing

    def put(
        self,
        bucket: str,
        key: bytes,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        storage_class: str = "",
        mtime: int | None = None,
    ) -> ObjectRecord:
        """Stores an object; mtime is in seconds since the epoch, the names of headers are in lower case."""
        record = self._body(bucket, data, key, headers, storage_class, mtime)
        self.writable(bucket).insert(record)
        return record

    def put_many(self, bucket: str, keys: Iterable[bytes], data: bytes = b"", *, mtime: int | None = None) -> None:
        """Stores one content under many keys (distinct ones) in one go: 100,000 take about a second."""
        keys = list(keys)
        for key in keys:
            check_key(key)
        record = self._body(bucket, data, b"many", None, "", mtime)
        self.writable(bucket).insert_many([record._replace(key=key) for key in keys])

    def _body(
        self, name: str, data: bytes, key: bytes, headers: Mapping[str, str] | None, storage_class: str, mtime: int | None
    ) -> ObjectRecord:
        check_key(key)
        self.create_bucket(name)
        bucket = self.writable(name)
        body = bucket.new_body()
        try:
            body.write(data)
            body.close()
        except BaseException:
            body.abandon()
            raise
        return ObjectRecord(
            key=key,
            size=body.size,
            etag=body.etag,
            mtime=int(time.time()) if mtime is None else mtime,
            crc64=body.crc64,
            storage_class=storage_class or bucket.info.storage_class,
            headers=dict(headers or {}),
            blob=body.name,
        )

    def put_symlink(self, bucket: str, key: bytes, target: bytes, *, mtime: int | None = None) -> ObjectRecord:
        check_key(key)
        self.create_bucket(bucket)
        record = symlink_record(key, target, int(time.time()) if mtime is None else mtime)
        self.writable(bucket).insert(record)
        return record

    def get(self, bucket: str, key: bytes) -> bytes | None:
        """An object's bytes; None where there is none."""
        found = self.bucket(bucket).open(key)
        if found is None:
            return None
        record, fd = found
        if fd < 0:
            return b""
        with open(fd, "rb") as file:
            return file.read(record.size)

    def find(self, bucket: str, key: bytes) -> ObjectRecord | None:
        return self.bucket(bucket).find(key)

    def delete(self, bucket: str, key: bytes) -> bool:
        """Whether there was something to delete."""
        return self.writable(bucket).delete(key)

    def keys(self, bucket: str, prefix: bytes = b"") -> list[bytes]:
        return [record.key for record in self.bucket(bucket).cursor().scan(prefix, b"")]


def symlink_record(
    key: bytes, target: bytes, mtime: int, storage_class: str = "Standard", headers: Mapping[str, str] | None = None
) -> ObjectRecord:
    etag = hashlib.md5(target, usedforsecurity=False).hexdigest().upper()
    return ObjectRecord(key, 0, etag, mtime, None, "Symlink", storage_class, dict(headers or {}), target=target)


def check_key(key: bytes) -> None:
    """Raises InvalidObjectName: a key is 1 to 1,023 bytes of UTF-8 and starts with neither "/" nor "\\"."""
    try:
        key.decode()
    except UnicodeDecodeError:
        raise OssError("InvalidObjectName") from None
    if not 0 < len(key) <= MAX_KEY or key[:1] in (b"/", b"\\"):
        raise OssError("InvalidObjectName")


def _lock(directory: Path) -> int:
    fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ValueError(f"{directory} is served by another process") from None
    return fd


def _refuse_plain_files(folder: Path) -> None:
    if not (folder / INDEX).exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files that no server stored: serve them as they lie with --plain")
