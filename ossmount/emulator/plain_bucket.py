"""A folder of plain files as a bucket, read-only, as it lies.

The index is the folder itself, walked in key order for each listing. A symbolic link to a file inside the served folder is
that file; links to folders and out of the served folder are left out, as are names that are not UTF-8.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ossmount.emulator.values import BucketInfo, ObjectRecord


class PlainBucket:
    """One folder; its files' paths below it are the keys."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._root = os.fsencode(os.path.realpath(folder))

    def __repr__(self) -> str:
        return f"PlainBucket({self.name!r})"

    @property
    def info(self) -> BucketInfo:
        return BucketInfo(self.name, int(os.stat(self._root).st_ctime))

    def find(self, key: bytes) -> ObjectRecord | None:
        found = self.open(key)
        if found is None:
            return None
        os.close(found[1])
        return found[0]

    def open(self, key: bytes) -> tuple[ObjectRecord, int] | None:
        if b"\0" in key or any(part in (b"", b".", b"..") for part in key.split(b"/")):
            return None
        folder, name = os.path.split(os.path.join(self._root, key))
        if os.path.realpath(folder) != folder:  # through a linked folder
            return None
        path = os.path.realpath(os.path.join(folder, name))
        if not path.startswith(self._root + b"/"):
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        return _record(key, status), fd

    def cursor(self) -> Walk:
        return Walk(self._root)

    def stat(self) -> tuple[int, int, int]:
        sizes = [record.size for record in self.cursor().scan(b"", b"")]
        return sum(sizes), len(sizes), 0


class Walk:
    """The files below a folder in key order; each folder is read once in the walk's life."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._folders: dict[bytes, list[tuple[bytes, os.DirEntry[bytes]]]] = {}

    def scan(self, prefix: bytes, start: bytes) -> Iterator[ObjectRecord]:
        return self._below(b"", prefix, max(prefix, start))

    def _below(self, folder: bytes, prefix: bytes, start: bytes) -> Iterator[ObjectRecord]:
        for key, entry in self._entries(folder):
            if key.endswith(b"/"):
                wanted = key.startswith(prefix) or prefix.startswith(key)
                if wanted and (key >= start or start.startswith(key)):
                    yield from self._below(key, prefix, start)
            elif key >= start and key.startswith(prefix):
                try:
                    status = entry.stat()
                except OSError:  # removed meanwhile, or a link to nothing
                    continue
                yield _record(key, status)

    def _entries(self, folder: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
        """The keys of a folder's files and, with a "/" behind them, of its folders, in the order of the keys below them."""
        known = self._folders.get(folder)
        if known is None:
            try:
                with os.scandir(os.path.join(self._root, folder)) as entries:
                    known = sorted(((self._key(folder, entry), entry) for entry in entries), key=lambda pair: pair[0])
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                known = []
            known = [pair for pair in known if pair[0]]
            self._folders[folder] = known
        return known

    def _key(self, folder: bytes, entry: os.DirEntry[bytes]) -> bytes:
        try:
            entry.name.decode()
        except UnicodeDecodeError:
            return b""
        if entry.is_dir(follow_symlinks=False):
            return folder + entry.name + b"/"
        if not entry.is_file():
            return b""
        if entry.is_symlink() and not os.path.realpath(entry.path).startswith(self._root + b"/"):
            return b""
        return folder + entry.name


def _record(key: bytes, status: os.stat_result) -> ObjectRecord:
    # Nothing is read for the ETag: it names the version by what changes with it, and its dash says that it is no MD5.
    version = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    etag = hashlib.md5(version.encode(), usedforsecurity=False).hexdigest().upper() + "-1"
    return ObjectRecord(key, status.st_size, etag, int(status.st_mtime), None, "Multipart")
