"""Who has a store open: lock files, which the kernel releases whatever becomes of their owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file; those who hold it do so for milliseconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, pid


def take_part(descriptor: int) -> None:
    """Makes others() of other processes see this one, until the descriptor is closed. Independent of flock(2)."""
    with contextlib.suppress(OSError):  # a file system without such locks: others() is true there
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))


def others(descriptor: int) -> bool:
    """Whether somebody else takes part, or it cannot be known. try_alone() would give a lock away to ask."""
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    except OSError:
        return True
    return int(_FLOCK.unpack(answer)[0]) != fcntl.F_UNLCK


def replace_text(path: Path, text: str) -> None:
    """All of it or what was there before, also when this process is killed; made while exclusive() is held."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
