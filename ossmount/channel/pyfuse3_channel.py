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
import os
import select
import threading
from collections.abc import Callable, Collection, Sequence

import pyfuse3
import trio

from ossmount.channel import mounting
from ossmount.channel.kernel_channel.detaching import GRACE, detach, reap
from ossmount.channel.kernel_channel.notify import Notifier
from ossmount.channel.pyfuse3_requests import Requests
from ossmount.config import ChannelConfig
from ossmount.errors import Unsupported
from ossmount.filesystem.interface import Operations

MAX_TASKS = 1024  # requests in hand at once; a task that waits costs 64 KiB of libfuse's buffers
WATCH = 0.5  # seconds between looks whether the connection has ended

_one_session = threading.Lock()


class Pyfuse3Channel:
    """One mount (ossmount.channel.interface.Channel)."""

    def __init__(self, operations: Operations, config: ChannelConfig) -> None:
        if config.open == "skip":
            raise Unsupported("-o open=skip: pyfuse3 reads by file handle, which needs OPEN; use --channel kernel")
        self._config = config
        self._notifier = Notifier()
        self._requests = Requests(operations, direct_io=config.direct_io)
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

    async def known(self, nodes: Sequence[int]) -> Collection[int]:
        return await self._notifier.known(nodes)

    async def caught_up(self) -> None:
        await self._notifier.caught_up()

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = {
            "name": "pyfuse3",
            "version": pyfuse3.__version__,
            "state": self._state,
            "open": "ask",
            "open_why": "pyfuse3 gives READ no inode, only the handle that OPEN answered",
            "kernel_listings": False,
            "kernel_listings_why": "pyfuse3 cannot ask for it",
            "passthrough": {"state": "off", "why": self._config.why_no_passthrough},
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
        try:
            os.set_blocking(mounted.fd, True)
            pyfuse3.init(self._requests, f"/dev/fd/{mounted.fd}", set())
        except BaseException:
            os.close(mounted.fd)
            await detach(mounted.mountpoint, helpers)
            raise
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
                    await detach(mounted.mountpoint, helpers)  # nothing stays mounted that never served
                await self._notifier.end()
                await reap(helpers)

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
        await detach(mounted.mountpoint, helpers)
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


def _is_abort(failure: BaseException) -> bool:
    """Whether the connection was aborted (umount -f, or through sysfs), and nothing else went wrong."""
    inner: Sequence[BaseException] = getattr(failure, "exceptions", ())  # of the groups that nurseries raise
    if inner:
        return all(_is_abort(part) for part in inner)
    return isinstance(failure, OSError) and failure.errno in (errno.ECONNABORTED, errno.ENODEV)
