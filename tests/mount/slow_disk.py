"""A file system in memory whose writes and reads take their time, as a worn-out or distant disk does. Run it as a program:

    python -m tests.mount.slow_disk MOUNTPOINT MILLISECONDS

It holds one folder. It serves until it is unmounted.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import time

import pyfuse3
import trio


class SlowDisk(pyfuse3.Operations):
    """Files below the root; each read and write waits."""

    def __init__(self, wait: float) -> None:
        """wait: seconds."""
        super().__init__()
        self._wait = wait
        self._numbers = itertools.count(pyfuse3.ROOT_INODE + 1)
        self._files: dict[int, bytearray] = {}
        self._names: dict[bytes, int] = {}

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_mode = stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o600
        found.st_size = len(self._files.get(inode, b""))
        found.st_uid, found.st_gid = os.getuid(), os.getgid()
        found.st_atime_ns = found.st_mtime_ns = found.st_ctime_ns = time.time_ns()
        found.entry_timeout = found.attr_timeout = 0
        return found

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def setattr(self, inode: int, attr: object, fields: object, fh: int | None, ctx: object) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def lookup(self, parent: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        if name not in self._names:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(self._names[name])

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: object
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        inode = self._names[name] = next(self._numbers)
        self._files[inode] = bytearray()
        return pyfuse3.FileInfo(fh=inode), self._attributes(inode)

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)

    async def unlink(self, parent: int, name: bytes, ctx: object) -> None:
        del self._names[name]

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        await trio.sleep(self._wait)
        self._files[fh][offset : offset + len(data)] = data
        return len(data)

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        await trio.sleep(self._wait)
        return bytes(self._files[fh][offset : offset + size])

    async def fsync(self, fh: int, datasync: bool) -> None:
        pass

    async def flush(self, fh: int) -> None:
        pass

    async def release(self, fh: int) -> None:
        if fh not in self._names.values():
            del self._files[fh]

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = 4096
        found.f_blocks = found.f_bfree = found.f_bavail = 1 << 20
        found.f_namemax = 255
        return found


def main() -> None:
    mountpoint, milliseconds = sys.argv[1:]
    options = {*pyfuse3.default_options, "fsname=slow-disk", "subtype=slow-disk"}
    pyfuse3.init(SlowDisk(int(milliseconds) / 1000), mountpoint, options)
    print("mounted", flush=True)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
