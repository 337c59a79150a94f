"""Notifications to the kernel: queued on the event loop, written by a process of their own (notify_process.py says why).

Two lanes: entries, and nodes with their pages. INVAL_INODE waits for READs of that node; the names of a version that is
gone must not wait behind it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import logging
import math
import os
import socket
import struct
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Borrower
from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.protocol import Notify
from ossmount.children.environment import bare_environment

log = logging.getLogger(__name__)

CAPACITY = 100_000  # notifications that wait in one lane, about 20 MB; more than that are lost (and logged)
IN_FLIGHT = 256  # notifications handed to the process and not confirmed
PATIENCE = 1.0  # seconds that an answer is held back for the names that must go first
CATCHING_UP = 10.0  # seconds that caught_up() waits for nodes
RESTART = 1.0  # seconds before the process is started again
ANSWER = 60.0  # seconds for the verdicts on questions: the lane may wait for a READ
FAREWELL = 5.0  # seconds given to the process to end after the device was closed
VERDICT = struct.Struct("=i")
# Not a failure: the kernel does not know the name or the node (any more), or the connection has ended.
EXPECTED = frozenset({0, errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED})


Told = Callable[[int], None]


def pack_entry(parent: int, name: bytes, *, expire: bool) -> bytes:
    """FUSE_NOTIFY_INVAL_ENTRY. With expire the kernel keeps the name and asks again at its next use."""
    size = 16 + protocol.NOTIFY_INVAL_ENTRY_OUT.size + len(name) + 1
    head = protocol.OUT_HEADER.pack(size, Notify.INVAL_ENTRY, 0)
    return head + protocol.NOTIFY_INVAL_ENTRY_OUT.pack(parent, len(name), protocol.EXPIRE_ONLY if expire else 0) + name + b"\0"


def pack_node(node: int) -> bytes:
    """FUSE_NOTIFY_INVAL_INODE of the attributes and of all pages."""
    head = protocol.OUT_HEADER.pack(16 + protocol.NOTIFY_INVAL_INODE_OUT.size, Notify.INVAL_INODE, 0)
    return head + protocol.NOTIFY_INVAL_INODE_OUT.pack(node, 0, 0)  # a length of 0 is to the end


def pack_question(node: int) -> bytes:
    """INVAL_INODE of the attributes alone, which waits for nothing: ENOENT means that the kernel does not know the node."""
    head = protocol.OUT_HEADER.pack(16 + protocol.NOTIFY_INVAL_INODE_OUT.size, Notify.INVAL_INODE, 0)
    return head + protocol.NOTIFY_INVAL_INODE_OUT.pack(node, -1, 0)


def clone_device(fd: int) -> int:
    """Another device of the same connection. Raises MountError or OSError where /dev/fuse cannot be opened."""
    clone = mounting.open_device()
    try:
        fcntl.ioctl(clone, protocol.DEV_IOC_CLONE, struct.pack("=I", fd))
    except BaseException:
        os.close(clone)
        raise
    return clone


class Lane:
    """A bounded queue without duplicates, and its stream to the process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: OrderedDict[bytes, Told | None] = OrderedDict()
        self.queued = 0  # ever
        self.confirmed = 0
        self.sent = 0
        self.lost = 0
        self.failed = 0
        self._wake = trio.Event()
        self._waiting = trio.lowlevel.ParkingLot()  # who waits until more is confirmed
        self._held: deque[tuple[int, float, Callable[[], None]]] = deque()
        self._held_wake = trio.Event()
        self._asked: deque[tuple[int, Told]] = deque()  # who is to be told the verdict, by its number

    def __repr__(self) -> str:
        return f"<Lane {self.name} queued={self.queued} confirmed={self.confirmed} lost={self.lost}>"

    def put(self, message: bytes, told: Told | None = None) -> None:
        """`told` is called with the errno of this notification, unless the connection ends before."""
        if message in self.queue:  # and stays where it is: hold() counts on that
            self.queue[message] = told or self.queue[message]
            return
        if len(self.queue) >= CAPACITY:
            if self.lost == 0:
                log.warning("the kernel takes no notifications: %s of them are lost, names stay until their timeout", self.name)
            self.lost += 1
            if told is not None:
                told(errno.ENOBUFS)
            return
        self.queue[message] = told
        self.queued += 1
        self._wake.set()

    @property
    def behind(self) -> bool:
        return self.confirmed < self.queued

    async def told(self) -> None:
        """Returns once all that was put so far is confirmed, or lost with the process."""
        put = self.queued
        while self.confirmed < put:
            await self._waiting.park()

    def hold(self, action: Callable[[], None]) -> None:
        """Calls action once all that was put so far is confirmed, or after PATIENCE."""
        self._held.append((self.queued, trio.current_time() + PATIENCE, action))
        self._held_wake.set()

    def _release(self, now: float) -> None:
        while self._held and (self._held[0][0] <= self.confirmed or self._held[0][1] <= now):
            self._held.popleft()[2]()

    async def release_late(self) -> None:
        """Lets go of what was held for too long."""
        while True:
            if not self._held:
                self._held_wake = trio.Event()
                await self._held_wake.wait()
            await trio.sleep_until(self._held[0][1] if self._held else -math.inf)
            self._release(trio.current_time())

    async def send(self, stream: trio.SocketStream) -> None:
        while True:
            while not self.queue or self.sent - self.confirmed >= IN_FLIGHT:
                self._wake = trio.Event()
                await self._wake.wait()
            count = min(len(self.queue), IN_FLIGHT - (self.sent - self.confirmed))
            batch = b"".join(self._take() for _ in range(count))
            try:
                await stream.send_all(batch)
            except trio.BrokenResourceError:
                return  # the process is gone, which receive() sees as well

    def _take(self) -> bytes:
        message, told = self.queue.popitem(last=False)
        self.sent += 1
        if told is not None:
            self._asked.append((self.sent, told))
        return message

    async def receive(self, stream: trio.SocketStream, lanes: trio.CancelScope) -> None:
        """Counts what was written; cancels the lanes when the process has ended."""
        rest = b""
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                rest = self._confirm(rest + data)
        lanes.cancel()

    def _confirm(self, verdicts: bytes) -> bytes:
        """Takes whole verdicts; returns the bytes behind them."""
        whole = len(verdicts) - len(verdicts) % VERDICT.size
        for (code,) in VERDICT.iter_unpack(verdicts[:whole]):
            self.confirmed += 1
            if self._asked and self._asked[0][0] == self.confirmed:
                self._asked.popleft()[1](code)
            if code not in EXPECTED:
                self.failed += 1
                log.warning("the kernel refused a notification of %s: %s", self.name, os.strerror(code))
        self._release(trio.current_time())
        self._waiting.unpark_all()
        self._wake.set()
        return verdicts[whole:]

    def give_up_sent(self) -> None:
        """The process is gone with what it had: nobody is to wait for that."""
        self.lost += self.sent - self.confirmed
        self.confirmed = self.sent
        while self._asked:
            self._asked.popleft()[1](errno.EIO)
        self._release(trio.current_time())
        self._waiting.unpark_all()

    def facts(self) -> dict[str, object]:
        return {
            "queued": self.queued,
            "waiting": self.queued - self.confirmed,
            "lost": self.lost,
            "failed": self.failed,
        }


class Notifier:
    """The two lanes and the process behind them. Never blocks the event loop, and never makes it wait for the process."""

    def __init__(self, alive: int = -1) -> None:
        """alive: a pipe that ends when nobody is left to serve the connection; -1 when nobody is after this daemon."""
        self._alive = alive
        self.entries = Lane("entries")
        self.nodes = Lane("nodes")
        self.expire = False  # whether the kernel has FUSE_EXPIRE_ONLY; set when INIT is answered
        self.lanes = (self.entries, self.nodes)
        self.process: trio.Process | None = None
        self.own_device = False
        self._wanted = trio.Event()
        self._borrower: Borrower | None = None
        self._lent = False
        self._fd = -1  # while the process runs
        # A pipe whose end of file tells the process that nobody has a lent device any more: (its end, that of the borrowers).
        self._guard: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<Notifier {self.entries!r} {self.nodes!r}>"

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self._wanted.set()
        self.entries.put(pack_entry(parent, name, expire=self.expire))

    def invalidate_node(self, node: int) -> None:
        self._wanted.set()
        self.nodes.put(pack_node(node))

    async def known(self, nodes: Sequence[int]) -> set[int]:
        """Of these nodes the ones that the kernel may still name; all when it does not say so in time."""
        left = set(nodes)
        unknown: set[int] = set()
        answered = trio.Event()

        def told(node: int, code: int) -> None:
            left.discard(node)
            if code == errno.ENOENT:
                unknown.add(node)
            if not left:
                answered.set()

        self._wanted.set()
        for node in nodes:
            self.nodes.put(pack_question(node), functools.partial(told, node))
        with trio.move_on_after(ANSWER if left else 0):
            await answered.wait()
        return set(nodes) - unknown

    async def caught_up(self) -> None:
        """Of the nodes it waits for a while only: INVAL_INODE may wait for a READ, and that for OSS."""
        await self.entries.told()
        with trio.move_on_after(CATCHING_UP):
            await self.nodes.told()

    def lend_to(self, borrower: Borrower) -> None:
        """Lends a device, as soon as the process runs: it frees a borrower that waits in the kernel when the daemon is gone."""
        self._borrower = borrower
        self._wanted.set()
        self._lend()

    def revoke(self) -> None:
        """The connection ends: what is lent comes back."""
        if self._lent and self._borrower is not None:
            self._borrower.revoke()
        self._borrower = None
        if self._guard is not None:
            for end in self._guard:
                os.close(end)
        self._guard = None

    def after_entries(self, then: Callable[[], None]) -> None:
        """Calls then once the kernel has been told of the names queued so far, at once when there are none.

        Not of the nodes: INVAL_INODE may wait for the very READ that `then` answers.
        """
        if self.entries.behind:
            self.entries.hold(then)
        else:
            then()

    def facts(self) -> dict[str, object]:
        return {
            "pid": self.process.pid if self.process else 0,
            "own_device": self.own_device,
            "entries": self.entries.facts(),
            "nodes": self.nodes.facts(),
        }

    async def run(self, fd: int) -> None:
        """Runs the process, from the first notification on and again whenever it was killed, until cancelled."""
        await self._wanted.wait()
        while True:
            try:
                await self._run_once(fd)
            except OSError as failure:
                log.warning("the notification process cannot be started: %s", failure.strerror)
            else:
                assert self.process is not None
                await self.process.wait()
                log.warning("the notification process ended; it is started again")
            for lane in self.lanes:
                lane.give_up_sent()
            await trio.sleep(RESTART)

    async def _run_once(self, fd: int) -> None:
        """Returns when the process has ended. Raises OSError when it cannot be started."""
        pairs = [socket.socketpair() for _ in self.lanes]
        lifeline, ours = os.pipe()
        try:
            try:
                await self._start(fd, lifeline, [theirs for _, theirs in pairs])
            finally:
                os.close(lifeline)
                for _, theirs in pairs:
                    theirs.close()
            self._fd = fd
            self._lend()
            async with trio.open_nursery() as nursery:
                for lane, (mine, _) in zip(self.lanes, pairs, strict=True):
                    stream = trio.SocketStream(trio.socket.from_stdlib_socket(mine))
                    nursery.start_soon(lane.send, stream)
                    nursery.start_soon(lane.receive, stream, nursery.cancel_scope)
                    nursery.start_soon(lane.release_late)
        finally:
            self._fd = -1
            os.close(ours)
            for mine, _ in pairs:
                mine.close()

    def _device(self, fd: int) -> int:
        try:
            clone = clone_device(fd)
        except (OSError, mounting.MountError) as failure:
            # works as well, but a daemon that dies while a notification waits may leave readers waiting
            log.warning("notifications share the daemon's device, it cannot be cloned: %s", failure)
            return os.dup(fd)
        os.set_blocking(clone, True)
        self.own_device = True
        return clone

    def _lend(self) -> None:
        """Once, while the process runs that would free the borrower; not where a device of its own cannot be had."""
        if self._borrower is None or self._lent or self._fd < 0 or self._guard is None or not self.own_device:
            return
        try:
            device = clone_device(self._fd)
        except (OSError, mounting.MountError) as failure:
            log.info("no device is lent: %s", failure)
            return
        self._lent = True
        self._borrower.lend(device, os.dup(self._guard[1]))

    async def _start(self, fd: int, lifeline: int, lanes: list[socket.socket]) -> None:
        self._guard = self._guard or os.pipe()
        device = self._device(fd)
        numbers = [device, lifeline, self._guard[0], self._alive, *(lane.fileno() for lane in lanes)]
        program = str(Path(__file__).with_name("notify_process.py"))
        command = [sys.executable, "-I", "-S", program, *map(str, numbers)]
        for lane in lanes:
            lane.setblocking(True)
        try:
            self.process = await trio.lowlevel.open_process(
                command,
                pass_fds=[number for number in numbers if number >= 0],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=bare_environment(),
                start_new_session=True,  # Ctrl-C is for the daemon, which ends this process by closing the lifeline
            )
        finally:
            os.close(device)

    async def end(self) -> None:
        """Waits a while for the process, which ends by itself; to be called after run() and after the device was closed."""
        self.revoke()
        if self.process is None:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL):
            await self.process.wait()
            return
        log.warning("the notification process %d still waits in the kernel", self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
