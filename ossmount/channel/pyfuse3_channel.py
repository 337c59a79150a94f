"""Pyfuse3Channel: the channel over pyfuse3 and libfuse, for old kernels and for whoever prefers libfuse.

It mounts as the kernel channel does and hands libfuse the descriptor (as "/dev/fd/N"), so that both channels mount, detach
and notify in the same way and with the same messages. What libfuse has no words for is missing here: READ arrives with a
file handle and no inode, so OPEN cannot be skipped (the handle is the node's number); listings are not kept by the kernel;
max_background and the like stay at the kernel's defaults. FLUSH is answered ENOSYS once, and the kernel stops sending it.

pyfuse3 keeps its session in module globals, hence one mount per process at a time. It reads the descriptor blocking: a
request that is taken back in the microseconds between poll and read stops the event loop until the next request comes.
(Non-blocking is no way out: it takes EAGAIN for the end of the mount.)
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import select
import subprocess
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pyfuse3
import trio

from ossmount.channel import mounting
from ossmount.channel.kernel_channel.notify import Notifier
from ossmount.config import ChannelConfig
from ossmount.errors import NotFound, OssMountError, StaleNode, Unsupported, errno_of
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, Operations
from ossmount.model import Soon

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Awaitable[Any]])

log = logging.getLogger(__name__)

MAX_TASKS = 1024  # requests in hand at once; a task that waits costs 64 KiB of libfuse's buffers
BLOCK_SIZE = 4096  # st_blksize
GRACE = 2.0  # seconds that readers of a detached mount get to finish before the connection is closed
WATCH = 0.5  # seconds between looks whether the connection has ended

_one_session = threading.Lock()


class Pyfuse3Channel:
    """One mount (ossmount.channel.interface.Channel)."""

    def __init__(self, operations: Operations, config: ChannelConfig) -> None:
        if config.open == "skip":
            raise Unsupported("-o open=skip: pyfuse3 reads by file handle, which needs OPEN; use --channel kernel")
        self._config = config
        self._notifier = Notifier()
        self._requests = _Requests(operations, direct_io=config.direct_io)
        self._stop = trio.Event()
        self._mounted: mounting.Mounted | None = None
        self._read_ahead = mounting.ReadAhead(0, "")
        self._state = "starting"

    def __repr__(self) -> str:
        return f"<Pyfuse3Channel {self._config.mountpoint} {self._state}>"

    async def serve(self, ready: Callable[[], None]) -> None:
        """Mounts (or takes the descriptor it was given) and serves. Raises MountError."""
        if not _one_session.acquire(blocking=False):
            raise Unsupported("pyfuse3 serves one mount per process, and this process serves one already")
        try:
            self._mounted = await self._open()
            await self._serve(self._mounted, ready)
        finally:
            _one_session.release()

    def unmount(self) -> None:
        self._stop.set()

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self._notifier.invalidate_entry(parent, name)

    def invalidate_node(self, node: int) -> None:
        self._notifier.invalidate_node(node)

    def after_invalidations(self, then: Callable[[], None]) -> None:
        self._notifier.after_entries(then)

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = {
            "name": "pyfuse3",
            "version": pyfuse3.__version__,
            "state": self._state,
            "open": "ask",
            "open_why": "pyfuse3 gives READ no inode, only the handle that OPEN answered",
            "kernel_listings": False,
            "kernel_listings_why": "pyfuse3 cannot ask for it",
        }
        if self._mounted is not None:
            facts["mounted_by"] = self._mounted.how
            facts["read_ahead_kb"] = self._read_ahead.kb
            if self._read_ahead.problem:
                facts["read_ahead_problem"] = self._read_ahead.problem
        facts["requests"] = self.requests()
        facts["defects"] = self._requests.defects
        facts["notifications"] = self._notifier.facts()
        return facts

    def requests(self) -> dict[str, int]:
        """How many requests of each kind the kernel made; FORGET counts messages, not nodes."""
        return dict(self._requests.counts)

    def pids(self) -> list[int]:
        """The processes that belong to this channel."""
        process = self._notifier.process
        return [process.pid] if process is not None and process.returncode is None else []

    # -- beginning and end

    async def _open(self) -> mounting.Mounted:
        config = self._config
        if config.fuse_fd is not None:
            os.set_inheritable(config.fuse_fd, False)
            return mounting.Mounted(config.fuse_fd, mounting.resolve(config.mountpoint), "descriptor")
        mount = functools.partial(mounting.mount, config.mountpoint, config.source, allow_other=config.allow_other)
        return await trio.to_thread.run_sync(mount)

    async def _serve(self, mounted: mounting.Mounted, ready: Callable[[], None]) -> None:
        helpers: list[trio.Process] = []
        os.set_blocking(mounted.fd, True)
        pyfuse3.init(self._requests, f"/dev/fd/{mounted.fd}", set())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._announce, mounted, ready)
                nursery.start_soon(self._notifier.run, mounted.fd)
                nursery.start_soon(self._detach_when_asked, mounted, helpers, nursery.cancel_scope)
                nursery.start_soon(self._end_with_connection, mounted.fd, nursery.cancel_scope)
                await self._run_session()
                nursery.cancel_scope.cancel()
        finally:
            self._state = "ended" if self._state in ("starting", "serving") else self._state
            # closes the descriptor: that fails what is still in hand, and so frees every process that waits for an answer
            pyfuse3.close(unmount=False)
            with trio.CancelScope(shield=True):
                if not self._requests.initialized.is_set():
                    await _detach(mounted, helpers)  # nothing stays mounted that never served
                await self._notifier.end()
                await _reap(helpers)

    async def _announce(self, mounted: mounting.Mounted, ready: Callable[[], None]) -> None:
        await self._requests.initialized.wait()  # this task runs after the step in which libfuse sends the answer
        self._read_ahead = mounting.set_read_ahead_kb(mounted.mountpoint, self._config.read_ahead_kb)
        self._state = "serving"
        ready()

    async def _run_session(self) -> None:
        try:
            await pyfuse3.main(max_tasks=MAX_TASKS)
            self._state = "unmounted"
        except Exception as failure:
            if not _is_abort(failure):
                raise
            self._state = "aborted"

    async def _detach_when_asked(
        self, mounted: mounting.Mounted, helpers: list[trio.Process], session: trio.CancelScope
    ) -> None:
        await self._stop.wait()
        await _detach(mounted, helpers)
        await trio.sleep(GRACE)  # a mount that nobody uses has ended by now; its users get a moment, then they are cut off
        self._state = "detached"
        session.cancel()

    async def _end_with_connection(self, fd: int, session: trio.CancelScope) -> None:
        """pyfuse3.main() returns when all requests are answered; after an unmount nobody wants those that take long."""
        poll = select.poll()
        poll.register(fd, 0)
        while not any(event & select.POLLERR for _, event in poll.poll(0)):
            await trio.sleep(WATCH)
        await trio.sleep(GRACE)
        self._state = "unmounted"
        session.cancel()


async def _detach(mounted: mounting.Mounted, helpers: list[trio.Process]) -> None:
    for command in mounting.detach_commands(mounted.mountpoint):
        # not run_process(): cancelled, that waits for a process which may wait for us
        process = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        helpers.append(process)
        if await process.wait() == 0:
            return
    if mounting.find_mount(mounted.mountpoint) is not None:
        log.warning("%s could not be unmounted; it answers ENOTCONN from now on", mounted.mountpoint)


async def _reap(helpers: list[trio.Process]) -> None:
    with trio.move_on_after(GRACE):
        for process in helpers:
            await process.wait()


def _is_abort(failure: BaseException) -> bool:
    """Whether the connection was aborted (umount -f, or through sysfs), and nothing else went wrong."""
    inner: Sequence[BaseException] = getattr(failure, "exceptions", ())  # of the groups that nurseries raise
    if inner:
        return all(_is_abort(part) for part in inner)
    return isinstance(failure, OSError) and failure.errno in (errno.ECONNABORTED, errno.ENODEV)


def _boundary(method: _F) -> _F:
    """The error boundary: pyfuse3 ends the mount on any exception that is not FUSEError."""
    name = method.__name__.strip("_").upper()

    @functools.wraps(method)
    async def guarded(self: _Requests, *arguments: Any) -> Any:
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
    """An open directory and the names that were listed but did not fit into the answers so far."""

    __slots__ = ("node", "offset", "rest")

    def __init__(self, node: int) -> None:
        self.node = node
        self.rest: Sequence[DirectoryEntry] = ()
        self.offset = -1  # where rest begins


@_boundary
async def _write_operation(self: _Requests, *_arguments: object) -> Any:
    raise pyfuse3.FUSEError(errno.EROFS)


_refuse: Any = _write_operation


class _Requests(pyfuse3.Operations):
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
        entries = directory.rest
        if start_id != directory.offset or not entries:
            try:
                entries = await _ready(self._operations.list(directory.node, start_id))
            except NotFound as failure:  # glibc takes ENOENT here for the end of the directory: it would look empty
                raise StaleNode(str(failure)) from failure
        taken = 0
        for name, entry, following in entries:
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), _entry(entry), following):
                break
            taken += 1
        if taken:
            directory.offset = entries[taken - 1].next_offset
            directory.rest = entries[taken:]

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
