"""KernelChannel: the channel that speaks the kernel's protocol on /dev/fuse.

Who owns what: the task of serve() reads requests and sends all answers that are in memory; coroutines of the filesystem
run in tasks of its nursery (in_hand.py); the notifier owns the notifications. Everything runs on the event loop's thread, and
between two checkpoints of the reading task nobody else touches the request buffer.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence

import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Borrower, LocalCopies, Succession, Taken
from ossmount.channel.kernel_channel import init, passthrough, protocol
from ossmount.channel.kernel_channel.attaching import attach, set_read_ahead
from ossmount.channel.kernel_channel.detaching import GRACE, detach, reap
from ossmount.channel.kernel_channel.device import Device
from ossmount.channel.kernel_channel.handlers import BODY, Handlers
from ossmount.channel.kernel_channel.in_hand import InHand
from ossmount.channel.kernel_channel.init import Agreement
from ossmount.channel.kernel_channel.journal import Journal
from ossmount.channel.kernel_channel.notify import Notifier, clone_device
from ossmount.channel.kernel_channel.observing import Observed
from ossmount.channel.kernel_channel.passthrough import Passthrough
from ossmount.channel.kernel_channel.protocol import UNANSWERED, Init, Opcode
from ossmount.channel.kernel_channel.short_wait import ShortWait
from ossmount.config import ChannelConfig
from ossmount.errors import OssMountError, Poisonous, Unavailable
from ossmount.filesystem.interface import Operations

log = logging.getLogger(__name__)

BUFFER_SIZE = 64 << 10  # bytes; requests are small, as MAX_WRITE is: the kernel wants max_write + 80, at least 8 KiB
TURN = 1e-3  # seconds of handling requests after which the other tasks get a turn, which costs 5 microseconds
LEAVING = 1.0  # seconds to answer what is in hand before another daemon takes the connection; the rest is sent to that one
LEFT = "left to another daemon"


class KernelChannel:
    """One mount (ossmount.channel.interface.Channel)."""

    def __init__(
        self,
        operations: Operations,
        config: ChannelConfig,
        succession: Succession | None = None,
        copies: LocalCopies | None = None,
    ) -> None:
        """succession: with it the connection may be one that another daemon began, and outlives this one. copies: what may be
        read in passthrough; needed when config asks for that."""
        init.check_open_policy(config)
        self._operations = operations
        self._config = config
        self._succession = succession
        self._copies = copies
        self._passthrough: Passthrough | None = None
        self._buffer = bytearray(BUFFER_SIZE)
        self._counts = [0] * (max(Opcode) + 1)  # by opcode; 0 counts all that are unknown
        self._malformed = 0
        self.owed = self._in_hand = InHand()
        self.observed = Observed()
        self._notifier = Notifier(-1 if succession is None else succession.alive)
        self._stop = trio.Event()
        self._reading = trio.CancelScope()
        self._journal: Journal | None = None
        self._agreement: Agreement | None = None
        self._handlers: Handlers | None = None
        self._mounted: mounting.Mounted | None = None
        self._device: Device | None = None
        self._nursery: trio.Nursery | None = None
        self._read_ahead = mounting.ReadAhead(0, "")
        self._ended = ""

    def __repr__(self) -> str:
        return f"<KernelChannel {self._config.mountpoint} {self._ended or 'serving' if self._mounted else 'not mounted'}>"

    # -- the Channel interface

    async def serve(self, ready: Callable[[], None]) -> None:
        """Mounts (or takes the descriptor it was given) and serves. Raises MountError, or Unsupported for an old kernel."""
        taken = None if self._succession is None else self._succession.taken()
        self._mounted = await self._open(taken)
        self._device = Device(self._mounted.fd)
        helpers: list[trio.Process] = []
        try:
            await self._begin(taken)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._in_hand.run_in(nursery)
                nursery.start_soon(self._detach_when_asked, helpers)
                nursery.start_soon(self._notifier.run, self._device.fd)
                ready()
                await self._serve_until_left()
                nursery.cancel_scope.cancel()
        finally:
            if self._succession is not None and (self._ended not in ("", LEFT) or self._stop.is_set()):
                self._succession.end()
            self._ended = self._ended or "stopped"
            self._notifier.revoke()
            # before all that takes time: it fails what is still in hand, which frees every process that waits for an answer
            trio.lowlevel.notify_closing(self._device.fd)
            self._device.close()
            with trio.CancelScope(shield=True):
                if self._handlers is None and taken is None:
                    await detach(self._mounted.mountpoint, helpers, self._succession)  # nothing stays mounted that never served
                await self._notifier.end()
                await reap(helpers)

    async def _serve_until_left(self) -> None:
        """Serves until the connection ends, or until it is another daemon's: then nothing of it is touched any more."""
        assert self._device is not None and self._handlers is not None
        with self._reading:
            await self._serve_requests(self._device.fd, self._handlers)
        if self._reading.cancelled_caught and self._succession is not None:
            await self._in_hand.drain(LEAVING)
            self._ended = LEFT
            if self._passthrough is not None:
                self._passthrough.leave()
            self._succession.left()

    def leave(self) -> None:
        """Leaves the connection to another daemon: serve() reads no more, answers what it has, and ends."""
        self._reading.cancel()

    def unmount(self) -> None:
        self._stop.set()

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        if self._handlers is not None:
            self._handlers.listings.drop(parent)
        self._notifier.invalidate_entry(parent, name)

    def invalidate_node(self, node: int) -> None:
        if self._handlers is not None:
            self._handlers.listings.drop(node)
        self._notifier.invalidate_node(node)

    def after_invalidations(self, then: Callable[[], None]) -> None:
        self._notifier.after_entries(then)

    async def known(self, nodes: Sequence[int]) -> Collection[int]:
        return await self._notifier.known(nodes)

    async def caught_up(self) -> None:
        await self._notifier.caught_up()

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"name": "kernel", "state": self._ended or ("serving" if self._handlers else "starting")}
        if self._mounted is not None:
            facts["mounted_by"] = self._mounted.how
            facts["read_ahead_kb"] = self._read_ahead.kb
            if self._read_ahead.problem:
                facts["read_ahead_problem"] = self._read_ahead.problem
        if self._agreement is not None:
            facts |= init.agreement_facts(self._agreement)
        facts["passthrough"] = self._passthrough.facts() if self._passthrough else passthrough.without(self._config)
        facts["requests"] = self.requests()
        facts |= self.observed.facts()
        if self._handlers is not None and self._device is not None:
            facts["waiting"] = len(self._in_hand)
            facts["malformed"] = self._malformed
            facts["defects"] = self._handlers.defects
            facts |= self._device.facts()
        facts["notifications"] = self._notifier.facts()
        return facts

    # -- more, for the daemon

    def lend_to(self, borrower: Borrower) -> None:
        """Lends a device of this connection until it ends; never where the kernel keeps no pages (direct_io)."""
        if not self._config.direct_io:
            self._notifier.lend_to(borrower)

    def requests(self) -> dict[str, int]:
        """How many requests of each kind the kernel made; UNKNOWN are opcodes that this channel does not know."""
        named = {opcode.name: self._counts[opcode] for opcode in Opcode if self._counts[opcode]}
        return {**named, "UNKNOWN": self._counts[0]} if self._counts[0] else named

    def pids(self) -> list[int]:
        """The processes that belong to this channel."""
        process = self._notifier.process
        return [process.pid] if process is not None and process.returncode is None else []

    # -- beginning and end

    async def _open(self, taken: Taken | None) -> mounting.Mounted:
        config = self._config
        given = config.fuse_fd if taken is None else taken.fd
        if given is not None:
            os.set_blocking(given, False)
            os.set_inheritable(given, False)
            how = "descriptor" if taken is None else "a former daemon"
            return mounting.Mounted(given, mounting.resolve(config.mountpoint), how)
        return await attach(config, self._succession)

    async def _detach_when_asked(self, helpers: list[trio.Process]) -> None:
        await self._stop.wait()
        assert self._mounted is not None
        await detach(self._mounted.mountpoint, helpers, self._succession)
        # a mount that nobody uses has ended by now (ENODEV ends serve); its users get a moment, then they are cut off
        await trio.sleep(GRACE)
        assert self._nursery is not None
        self._ended = "detached"
        self._nursery.cancel_scope.cancel()

    async def _begin(self, taken: Taken | None) -> None:
        """INIT, or what another daemon agreed then: the kernel asks once for each connection."""
        assert self._mounted is not None and self._device is not None
        agreement = await self._initialize(self._device) if taken is None else init.agreement_from(taken.agreement)
        self._agreement = agreement
        self._notifier.expire = Init.HAS_EXPIRE_ONLY in agreement.flags
        if self._succession is not None:
            self._share(self._succession, taken, agreement)
        # only now: the answer to INIT has just set the bdi's value to the lower of its own and max_readahead
        self._read_ahead = await set_read_ahead(self._mounted.mountpoint, self._config.read_ahead_kb, self._succession)
        self._handlers = self._make_handlers(self._device, agreement)
        if Init.PASSTHROUGH in agreement.flags and self._copies is not None:
            found = passthrough.begin(self._config, self._operations, self._copies, self._succession, self._device.fd)
            self._passthrough = found
            found.attach(self._handlers)
            if taken is None:
                await found.try_out()

    def _share(self, succession: Succession, taken: Taken | None, agreement: Agreement) -> None:
        """Hands the connection to the keeper.

        A kernel that cannot send requests again is read from a clone: its end, with the daemon, fails what was in hand.
        """
        assert self._device is not None
        if Init.HAS_RESEND in agreement.flags:
            self._journal = Journal(succession.journal, after_death=taken is not None and taken.after_death)
            if taken is None:
                succession.keep(self._device.fd, init.agreement_as_json(agreement))
            return
        try:
            clone = clone_device(self._device.fd)
        except (OSError, mounting.MountError) as failure:
            log.warning(
                "the mount ends with this daemon: no request is sent again, and the device cannot be cloned: %s", failure
            )
            return
        if taken is None:
            succession.keep(self._device.fd, init.agreement_as_json(agreement))
        self._device.close()
        self._device = Device(clone)

    async def _initialize(self, device: Device) -> Agreement:
        """Answers INIT; what was agreed."""
        while True:
            await trio.lowlevel.wait_readable(device.fd)
            size = self._receive(device.fd)
            if size is None:
                continue
            if size < 0:
                raise Unavailable(f"{self._config.mountpoint}: unmounted before it was ready")
            _length, opcode, unique, *_ = protocol.IN_HEADER.unpack_from(self._buffer)
            if size < BODY or opcode in UNANSWERED or not unique:
                self._malformed += 1
            elif opcode != Opcode.INIT:
                device.error(unique, errno.EIO)
            elif agreement := self._agree(device, unique, size):
                return agreement

    def _agree(self, device: Device, unique: int, size: int) -> Agreement | None:
        """None when the kernel is to ask again in our major version."""
        self._counts[Opcode.INIT] += 1
        try:
            answer, agreement = init.answer_offer(self._buffer[BODY:size], os.uname().release, self._config)
        except OssMountError:
            device.error(unique, errno.EPROTO)
            raise
        device.write(protocol.OUT_HEADER.pack(16 + len(answer), 0, unique) + answer)
        return agreement

    def _make_handlers(self, device: Device, agreement: Agreement) -> Handlers:
        handlers = Handlers(
            self._operations,
            device,
            agreement,
            self._buffer,
            self._in_hand.start,
            observed=self.observed,
            direct_io=self._config.direct_io,
            keep_listings=not self._config.close_to_open,
            clock=trio.current_time,
        )
        self._in_hand.attach(handlers)
        handlers.table[Opcode.INTERRUPT] = self._interrupt
        handlers.smallest[Opcode.INTERRUPT] = BODY + protocol.INTERRUPT_IN.size
        return handlers

    # -- requests

    def _receive(self, fd: int) -> int | None:
        """Reads one request into the buffer: its size, None when there is none, -1 when the connection has ended."""
        try:
            return os.readv(fd, (self._buffer,)) or -1
        except BlockingIOError:
            return None
        except OSError as failure:
            if failure.errno in (errno.EINTR, errno.ENOENT):  # ENOENT: the request was taken back before we had it
                return None
            if failure.errno in (errno.ENODEV, errno.ECONNABORTED, errno.ECONNRESET):
                self._ended = "unmounted" if failure.errno == errno.ENODEV else "aborted"
                return -1
            raise

    async def _serve_requests(self, fd: int, handlers: Handlers) -> None:
        buffer, counts, table, smallest = self._buffer, self._counts, handlers.table, handlers.smallest
        unpack, known = protocol.IN_HEADER.unpack_from, len(handlers.table)
        receive, tasks, reads = self._receive, self._in_hand.tasks, handlers.reads
        observed = handlers.observed
        buckets, seconds = observed.buckets, observed.seconds
        wait_briefly = ShortWait(fd, receive)
        turn_ends = began = 0.0
        asker = 0
        while True:
            size = receive(fd)
            if size is None:
                # what is in hand is answered by other tasks, which need the event loop
                if turn_ends and not tasks and not reads:
                    size = wait_briefly(asker)
                began = 0.0
                if size is None:
                    await trio.lowlevel.wait_readable(fd)
                    turn_ends = 0.0
                    continue
            if size < BODY:
                if size < 0:
                    return
                self._malformed += 1
                continue
            if not began:
                began = time.monotonic()
            pended = observed.pended
            length, opcode, unique, node, _uid, _gid, asker, extensions, _ = unpack(buffer)
            if opcode >= known:
                opcode = 0
            counts[opcode] += 1
            end = size - 8 * extensions
            try:
                if length != size or end < smallest[opcode] or not unique:
                    self._refuse(opcode, unique, size)
                elif unique < protocol.UNIQUE_RESEND or self._take_up(handlers, opcode, unique):
                    table[opcode](unique, node, end)
                    if opcode == Opcode.DESTROY:
                        self._ended = "unmounted"
                        return
            except Exception as failure:
                handlers.fail_in_loop(opcode, unique, failure, node)
            now = time.monotonic()
            if observed.pended == pended:
                elapsed = now - began
                buckets[opcode][int(elapsed * 1e6).bit_length()] += 1
                seconds[opcode] += elapsed
                if elapsed >= observed.slow_after:
                    observed.tell(handlers.request_in_buffer(elapsed))
            began = now
            if not turn_ends:
                turn_ends = now + TURN
            elif now >= turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends, began = now + TURN, 0.0

    def _refuse(self, opcode: int, unique: int, size: int) -> None:
        """A request that no kernel makes."""
        self._malformed += 1
        log.warning("malformed request: opcode %d, %d bytes", opcode, size)
        # an answer to 0 would be a notification
        if unique and opcode not in UNANSWERED and self._device is not None:
            self._device.error(unique, errno.EINVAL)

    def _take_up(self, handlers: Handlers, opcode: int, unique: int) -> bool:
        """Whether a request that the kernel sends again is to be handled: not one in hand, nor one that daemons die of."""
        if opcode in UNANSWERED:
            return True
        if self._in_hand.renumber(unique):
            return False
        if self._journal is None or self._journal.take_up(unique):
            return True
        log.error("request %d (opcode %d) was in hand when two daemons died: answered EIO", unique, opcode)
        handlers.fail(unique, Poisonous("daemons die with this request in hand"))
        return False

    def _interrupt(self, _unique: int, _node: int, _end: int) -> None:
        (unique,) = protocol.INTERRUPT_IN.unpack_from(self._buffer, BODY)
        self._in_hand.interrupt(unique)
