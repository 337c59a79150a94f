"""A folder of the cache on local disks: space, and how fast it is written and read."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence

from ossmount.doctor.finding import Finding, bad, good, note

_PROBE = 64 << 20  # bytes
_PIECE = 1 << 20
_SLOW = 200e6  # bytes/s: below this one connection to OSS is as fast


def finding(folder: str, free_percent: float) -> Finding:
    """Writes a file of 64 MiB there, reads it back from the disk, and removes it."""
    subject = f"cache {folder}"
    try:
        os.makedirs(folder, exist_ok=True)
        space = os.statvfs(folder)
        usable = space.f_frsize * (space.f_bavail - space.f_blocks * free_percent / 100)
        if usable < 2 * _PROBE:
            text = f"full: {space.f_frsize * space.f_bavail / 1e9:.1f} GB free, {free_percent:g} % stay free"
            return bad(subject, text, "make room, or lower --cache-free-space")
        written, read = _speeds(folder)
    except OSError as error:
        return bad(subject, f"cannot be used: {error.strerror}", "name a folder that you may write to")
    text = f"{usable / 1e9:,.0f} GB for data; writes {written / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s"
    if min(written, read) < _SLOW:
        return note(subject, text, "a local NVMe disk; a slow one is skipped for what it cannot take in time")
    return good(subject, text)


def _speeds(folder: str) -> tuple[float, float]:
    """Bytes/s of writing (with fsync) and of reading what the kernel has dropped."""
    piece = os.urandom(_PIECE)
    with tempfile.TemporaryFile(dir=folder) as file:
        begin = time.monotonic()
        for _ in range(_PROBE // _PIECE):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        written = time.monotonic()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        while file.read(_PIECE):
            pass
        return _PROBE / (written - begin), _PROBE / (time.monotonic() - written)


def findings(folders: Sequence[str], free_percent: float) -> list[Finding]:
    return [finding(folder, free_percent) for folder in folders]
