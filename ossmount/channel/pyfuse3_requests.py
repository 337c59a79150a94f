"""What pyfuse3 calls for each request of the kernel: unpack, ask the filesystem, pack, and one error boundary."""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pyfuse3
import trio

from ossmount.errors import NotFound, OssMountError, StaleNode, errno_of
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, Operations
from ossmount.model import Soon

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Awaitable[Any]])

log = logging.getLogger(__name__)

BLOCK_SIZE = 4096  # st_blksize


def _boundary(method: _F) -> _F:
    """The error boundary: pyfuse3 ends the mount on any exception that is not FUSEError."""
    name = method.__name__.strip("_").upper()

    @functools.wraps(method)
    async def guarded(self: Requests, *arguments: Any) -> Any:
        self.counts[name] += 1
        try:
            return await method(self, *arguments)
        except pyfuse3.FUSEError:
            raise
        except Exception as failure:
            if not isinstance(failure, OssMountError):
                self.defects += 1
                log.error("%s failed: %r", name, failure, exc_info=failure)
            raise pyfuse3.FUSEError(errno_of(failure)) from None

    return guarded  # type: ignore[return-value]


async def _ready(answer: Soon[_T]) -> _T:
    return await answer if isinstance(answer, Coroutine) else answer


class _Read:
    """The answer to one READ, copied while its views are valid."""

    __slots__ = ("arrived", "result")

    def __init__(self) -> None:
        self.result: bytes | OssMountError | None = None
        self.arrived: trio.Event | None = None

    def done(self, result: Sequence[memoryview] | OssMountError) -> None:
        self.result = result if isinstance(result, OssMountError) else b"".join(result)
        if self.arrived is not None:
            self.arrived.set()

    async def wait(self) -> bytes:
        if self.result is None:
            self.arrived = trio.Event()
            await self.arrived.wait()
        if isinstance(self.result, OssMountError):
            raise self.result
        assert self.result is not None
        return self.result


class _Directory:
    """An open directory and its names of the last list(): one answer takes a few dozen of them, a list has thousands."""

    __slots__ = ("_names", "_places", "node")

    def __init__(self, node: int) -> None:
        self.node = node
        self._names: Sequence[DirectoryEntry] = ()
        self._places: dict[int, int] = {}  # from an offset to where in names reading goes on

    def keep(self, start: int, names: Sequence[DirectoryEntry]) -> None:
        self._names = names
        self._places = {entry.next_offset: place for place, entry in enumerate(names, 1)}
        self._places[start] = 0

    def rest(self, start: int) -> Sequence[DirectoryEntry]:
        """What is kept from this offset on (the kernel goes back to where its caller's buffer was full); may be empty."""
        place = self._places.get(start)
        return () if place is None else self._names[place:]


@_boundary
async def _write_operation(self: Requests, *_arguments: object) -> Any:
    raise pyfuse3.FUSEError(errno.EROFS)


_refuse: Any = _write_operation


class Requests(pyfuse3.Operations):
    """What pyfuse3 calls. A file's handle is its node id, a directory's a number of its own."""

    def __init__(self, operations: Operations, *, direct_io: bool) -> None:
        super().__init__()
        self._operations = operations
        self._direct_io = direct_io
        self._directories: dict[int, _Directory] = {}
        self._last_handle = 0
        self.initialized = trio.Event()
        self.counts: Counter[str] = Counter()
        self.defects = 0

    def init(self) -> None:
        self.initialized.set()

    def stacktrace(self) -> None:
        """pyfuse3 would print one for whoever sets the attribute fuse_stacktrace."""

    @_boundary
    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        return _entry(await _ready(self._operations.lookup(parent_inode, name)))

    @_boundary
    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        attributes, valid = await _ready(self._operations.getattr(inode))
        return _attributes(attributes, entry_valid=0.0, attr_valid=valid)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self.counts["FORGET"] += 1
        try:
            for node, count in inode_list:
                self._operations.forget(node, count)
        except Exception as failure:
            self.defects += 1
            log.error("FORGET failed: %r", failure, exc_info=failure)

    @_boundary
    async def readlink(self, inode: int, ctx: object) -> bytes:
        return await _ready(self._operations.readlink(inode))

    @_boundary
    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EROFS)
        keep = await _ready(self._operations.open(inode, flags))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=keep, direct_io=self._direct_io)

    @_boundary
    async def read(self, fh: int, off: int, size: int) -> bytes:
        answer = _Read()
        self._operations.read(fh, off, size, answer.done)
        return await answer.wait()

    async def release(self, fh: int) -> None:
        self.counts["RELEASE"] += 1

    @_boundary
    async def opendir(self, inode: int, ctx: object) -> int:
        self._last_handle += 1
        self._directories[self._last_handle] = _Directory(inode)
        return self._last_handle

    @_boundary
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory = self._directories[fh]
        names = directory.rest(start_id) if start_id else ()
        if not names:
            try:
                names = await _ready(self._operations.list(directory.node, start_id))
            except NotFound as failure:  # glibc takes ENOENT here for the end of the directory: it would look empty
                raise StaleNode(str(failure)) from failure
            directory.keep(start_id, names)
        for entry in names:
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(entry.name), _listed(entry), entry.next_offset):
                break

    async def releasedir(self, fh: int) -> None:
        self.counts["RELEASEDIR"] += 1
        self._directories.pop(fh, None)

    @_boundary
    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        found = self._operations.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = found.block_size
        data.f_blocks = found.blocks
        data.f_files = found.files
        data.f_namemax = found.name_max
        return data

    @_boundary
    async def getxattr(self, inode: int, name: bytes, ctx: object) -> bytes:
        return await _ready(self._operations.getxattr(inode, name))

    @_boundary
    async def listxattr(self, inode: int, ctx: object) -> Sequence[pyfuse3.XAttrNameT]:
        return [pyfuse3.XAttrNameT(name) for name in await _ready(self._operations.listxattr(inode))]

    # The kernel refuses these itself on a read-only mount; a descriptor that was passed in may be mounted otherwise.
    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = write = create = setxattr = removexattr = _refuse


def _entry(entry: Entry) -> pyfuse3.EntryAttributes:
    if entry.attributes is None:  # a negative entry: st_ino stays 0
        absent = pyfuse3.EntryAttributes()
        absent.entry_timeout = entry.entry_valid
        return absent
    return _attributes(entry.attributes, entry_valid=entry.entry_valid, attr_valid=entry.attr_valid)


def _listed(entry: DirectoryEntry) -> pyfuse3.EntryAttributes:
    mode, nlink, uid, gid, entry_valid, attr_valid = entry.common
    attributes = Attributes(entry.node, mode, nlink, uid, gid, entry.size, entry.size + 511 >> 9, entry.mtime_ns)
    return _attributes(attributes, entry_valid=entry_valid, attr_valid=attr_valid)


def _attributes(attributes: Attributes, *, entry_valid: float, attr_valid: float) -> pyfuse3.EntryAttributes:
    packed = pyfuse3.EntryAttributes()
    packed.st_ino = pyfuse3.InodeT(attributes.node)
    packed.entry_timeout = entry_valid
    packed.attr_timeout = attr_valid
    packed.st_mode = pyfuse3.ModeT(attributes.mode)
    packed.st_nlink = attributes.nlink
    packed.st_uid = attributes.uid
    packed.st_gid = attributes.gid
    packed.st_size = attributes.size
    packed.st_blocks = attributes.blocks
    packed.st_blksize = BLOCK_SIZE
    packed.st_atime_ns = packed.st_mtime_ns = packed.st_ctime_ns = attributes.mtime_ns
    return packed
