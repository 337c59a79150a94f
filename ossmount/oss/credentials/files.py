"""Files that hold credentials, and how it is noticed that they were replaced or rewritten."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ossmount.oss.credentials.documents import MAX_DOCUMENT, parse_document
from ossmount.oss.credentials.interface import CredentialsError, Issued

_RACY_NS = 2_000_000_000  # a file written so recently may change again without a new time stamp: it is read again


class WatchedFile:
    """A small file that somebody else rewrites, in place or by a rename."""

    def __init__(self, path: Path, what: str) -> None:
        """`what` calls it in messages, such as `the credentials file`."""
        self.path = path
        self.where = f"{what} {path}"
        self._signature: tuple[int, int, int, int] | None = None

    def read(self) -> bytes:
        """All of it. Raises CredentialsError."""
        try:
            with open(self.path, "rb") as file:
                self._signature = _signature(os.fstat(file.fileno()))
                data = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            self._signature = None
            raise CredentialsError(f"{self.where} cannot be read: {error.strerror or error}") from None
        if len(data) > MAX_DOCUMENT:
            raise CredentialsError(f"{self.where} has more than {MAX_DOCUMENT} bytes")
        return data

    def changed(self) -> bool:
        """Whether it may hold something else than was read last; also when it cannot be looked at."""
        try:
            now = _signature(os.stat(self.path))
        except OSError:
            return True
        return now is None or now != self._signature


class FileProvider:
    """A JSON file with AccessKeyId, AccessKeySecret and, for temporary ones, SecurityToken and Expiration."""

    renewable = True
    watched = True

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "the credentials file")
        self.name = f"file ({path})"

    def obtain(self) -> Issued:
        return parse_document(self._file.read(), self._file.where)

    def changed(self) -> bool:
        return self._file.changed()


def _signature(status: os.stat_result) -> tuple[int, int, int, int] | None:
    """What changes when the file does; None while that cannot be relied on."""
    if abs(time.time_ns() - status.st_mtime_ns) < _RACY_NS:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
