"""One place of the pool: a fetch process at a time, and the fetches that it was given."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ossmount.errors import CredentialsRefused, DeadlineExceeded, Denied, OssMountError, Unavailable
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.denials import Denials, Hold
from ossmount.oss.fetch.pending import Pending, on_trios_clock, start_message
from ossmount.oss.fetch.process import FetchProcess
from ossmount.oss.fetch.reports import Phases
from ossmount.oss.interface import SlowFetch, SlowWatcher, StoreDone
from ossmount.oss.rates.rates import NOTHING, Bounds, Rates, Wants

_log = logging.getLogger(__name__)

#: Bytes of messages that one recv() takes. From 128 KiB on malloc() maps and unmaps memory for each, four system calls more.
_MESSAGES: Final = 64 << 10
#: Deaths of fetch processes that a fetch may have been in hand at, each time on a connection: one more, and it is to blame.
_MAX_REPEATS: Final = 2
#: Seconds after its deadline at which a fetch proves that its process is stuck.
_STUCK: Final = 5.0
#: Seconds between two looks for a stuck process.
_WATCH: Final = 1.0
#: Seconds before a process that did not even start is started again, at first and at most.
_RESTART: Final = (0.1, 5.0)
#: What one fetch costs a process beyond its bytes, in bytes; to spread small and large fetches alike.
_FETCH_COST: Final = 128 << 10


@dataclass(slots=True)
class Loan:
    """The device and the guard that are lent to all processes of the pool; empty while there is no kernel to store into."""

    descriptors: list[int] = field(default_factory=list)


class Slot:
    """Lives as long as the pool, and starts a new process whenever one ends. See the pool on concurrency."""

    def __init__(
        self,
        index: int,
        start: Callable[[], FetchProcess],
        where: dict[int, Slot],
        credentials_message: Callable[[], wire.Message],
        generation: Callable[[], int],
        hold: Hold,
        loan: Loan,
        rates: Rates,
        complain: Callable[[bytes, OssMountError], None],
    ) -> None:
        self._index = index
        self._start = start
        self._where = where
        self._credentials_message = credentials_message
        self._denials = Denials(generation, hold, self._start_again, self._finish)
        self._loan = loan
        self._rates = rates
        self._complain = complain
        self._party = rates.join(self._granted, self._bounded)
        self._grants = (0, 0)  # requests and bytes that the process that runs now was granted
        self._connections = 0  # that the process may use; 0: as many as it was told at its start
        self._lent = False  # the process that runs now has the device
        self._stores: dict[int, StoreDone] = {}
        self._pending: dict[int, Pending] = {}
        self._outbox: list[wire.Message] = []
        self._wake = trio.lowlevel.ParkingLot()
        self._answered = False  # the process that runs now has sent something
        self._carried: set[int] = set()  # what the process that ended last had on its connections
        self._slow: wire.Message = ()  # of the fetch whose DONE comes next
        self.process: FetchProcess | None = None
        self.ready = trio.Event()  # a process has answered once
        self.load = 0  # bytes under way, with a share for each fetch
        self.restarts = 0
        self.latency: float | None = None  # seconds until the first byte of an answer
        self.watcher: SlowWatcher | None = None
        self.phases = Phases()  # of the process that runs now
        self.former_phases = Phases()  # of the processes that ended
        self.counters: dict[str, int] = {}
        self.former_counters: dict[str, int] = {}  # of the processes that ended

    def __repr__(self) -> str:
        return f"<Slot {self._index}: {self.process and self.process.pid}, {len(self._pending)} fetches>"

    def add(self, number: int, pending: Pending, missing: CredentialsRefused | None = None) -> None:
        """missing: why there are no credentials to start it with yet."""
        self._pending[number] = pending
        self.load += pending.request.length + _FETCH_COST
        if missing is not None:
            self._denials.wait(number, pending, missing)
            return
        self._tell(start_message(number, pending))
        if self._rates.bounded and self.process is not None:
            self._want_more(pending.request.length, demand=pending.demand)

    def _want_more(self, size: int, *, demand: bool) -> None:
        """Asks for what the process will want for a fetch that it was just given: saves it the way here and back."""
        bounds, wants = self._rates.bounds, self._party.wants
        requests, size = int(bounds.requests > 0), size if bounds.bandwidth else 0
        if demand:
            more = wants._replace(demand_requests=wants.demand_requests + requests, demand_bytes=wants.demand_bytes + size)
        else:
            more = wants._replace(ahead_requests=wants.ahead_requests + requests, ahead_bytes=wants.ahead_bytes + size)
        self._party.want(more)

    def promote(self, number: int, deadline: float) -> None:
        pending = self._pending[number]
        pending.demand = True
        pending.deadline = max(pending.deadline, deadline)
        if pending.waiting is not None:
            pending.waiting.deadline = on_trios_clock(pending.deadline)
        else:
            self._tell((wire.PROMOTE, number, pending.deadline))

    def cancel(self, number: int) -> None:
        pending = self._pending[number]
        pending.cancelled = True
        if pending.waiting is not None:
            pending.waiting.cancel()
        else:
            self._tell((wire.CANCEL, number))

    def store(self, number: int, node: int, size: int, targets: tuple[tuple[int, int], ...], done: StoreDone) -> None:
        self._stores[number] = done
        self._tell((wire.STORE, number, node, size, targets))

    def revoke(self) -> None:
        """The loan has ended."""
        if self._lent:
            self._lent = False
            self._tell((wire.REVOKE,))

    def allow(self, connections: int) -> None:
        """How many connections its process may use, this one and those that follow."""
        self._connections = connections
        self._tell((wire.CONNECTIONS, connections))

    def tell_credentials(self) -> None:
        self._tell(self._credentials_message())

    def abandon(self, failure: OssMountError) -> None:
        """Ends all fetches. Only without a process."""
        for number in list(self._pending):
            self._finish(number, failure)

    async def run(self) -> None:
        """Keeps a process running until cancelled."""
        pause = _RESTART[0]
        while True:
            try:
                status = await self._run_once()
            except OSError as error:
                if not self.ready.is_set():
                    raise
                status = None
                _log.warning("fetch process %d cannot be started: %s", self._index, error.strerror)
            self.restarts += 1
            if not self._answered and not self.ready.is_set():
                raise RuntimeError(f"fetch process {self._index} does not start: status {status}, see its message on stderr")
            _log.warning("fetch process %d ended with status %s: starting a new one", self._index, status)
            self._requeue()
            if self._answered:
                pause = _RESTART[0]
            else:
                await trio.sleep(pause)
                pause = min(_RESTART[1], pause * 2)

    async def _run_once(self) -> int | None:
        """One process from start to end; its exit status."""
        self._answered = False
        self._carried = set()
        self._lent = False
        self.process = process = self._start()
        self._grants = (0, 0)
        self._outbox[:0] = [self._credentials_message(), (wire.BOUNDS, *self._rates.bounds)]
        if self._connections:
            self._outbox.insert(0, (wire.CONNECTIONS, self._connections))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, process)
                nursery.start_soon(self._watch, process)
                await self._read(process)
                nursery.cancel_scope.cancel()
        finally:
            status, self._carried = await process.end()
            self.process = None
            self._party.want(NOTHING)
            stores, self._stores = self._stores, {}
            for done in stores.values():
                _guarded(done, errno.EIO)
            for name, value in self.counters.items():
                self.former_counters[name] = self.former_counters.get(name, 0) + value
            self.counters = {}
            self.former_phases = self.former_phases.plus(self.phases)
            self.phases = Phases()
        return status

    async def _write(self, process: FetchProcess) -> None:
        """Sends the outbox whenever there is something in it, all in one piece."""
        control = process.control
        while True:
            if not self._outbox:
                await self._wake.park()
            if self._loan.descriptors and not self._lent:
                self._lend(control)
            messages, self._outbox = self._outbox, []
            unsent = memoryview(wire.pack(messages))
            while unsent:
                try:
                    unsent = unsent[control.send(unsent) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(control)
                except OSError as error:
                    _log.debug("fetch process %d takes no more: %s", self._index, error)
                    return  # _read() sees the end

    def _lend(self, control: socket.socket) -> None:
        """Hands the device over in front of what needs it. When the socket is full, with what is sent next."""
        try:
            socket.send_fds(control, [wire.pack([(wire.LEND,)])], self._loan.descriptors)
            self._lent = True
        except OSError as error:
            _log.debug("fetch process %d is not lent the device now: %s", self._index, error)

    async def _read(self, process: FetchProcess) -> None:
        """Takes reports until the process ends."""
        control, unpacker = process.control, wire.Unpacker()
        while True:
            await trio.lowlevel.wait_readable(control)
            try:
                data = control.recv(_MESSAGES)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return
            if not data:
                return
            for message in unpacker.feed(data):
                self._take(message)

    async def _watch(self, process: FetchProcess) -> None:
        """Kills a process that is stuck: a fetch of it is well over its deadline."""
        while True:
            await trio.sleep(_WATCH)
            late = time.monotonic() - _STUCK
            if any(pending.deadline < late and pending.waiting is None for pending in self._pending.values()):
                _log.error("fetch process %d (pid %d) is stuck: it is killed", self._index, process.pid)
                process.kill()
                return

    def _take(self, message: wire.Message) -> None:
        kind = message[0]
        if kind == wire.DONE:
            _, number, failure, text = message
            self._tell_slow(number, failure)
            error = wire.FAILURES[failure](text) if failure else None
            pending = self._pending.get(number)
            if pending is None or not isinstance(error, Denied) or not self._denials.repeats(number, pending, error):
                self._finish(number, error)
        elif kind == wire.SUMMED:
            self._summed(*message[1:])
        elif kind == wire.PROGRESS:
            pending = self._pending.get(message[1])
            if pending is not None and pending.progress is not None:
                _guarded(pending.progress, message[2])
        elif kind == wire.STORED:
            _guarded(self._stores.pop(message[1], _nobody), message[2])
        elif kind == wire.LATENCY:
            self.latency = message[1]
        elif kind == wire.PHASES:
            self.phases = Phases(*message[1:])
        elif kind == wire.SLOW:
            self._slow = message[1:]
        elif kind == wire.COUNTERS:
            before, self.counters = self.counters, message[1]
            news = [self.counters[name] - before.get(name, 0) for name in ("answered", "throttled")]
            if any(news):
                self._rates.answered(*news)
        elif kind == wire.WANT:
            self._want(message[1], message[2], Wants(*message[3:]))
        elif kind == wire.READY:
            self._answered = True
            self.ready.set()

    def _summed(self, number: int, crc: int, whole: int | None) -> None:
        pending = self._pending.get(number)
        if pending is not None and pending.request.summed is not None:
            pending.verdict = pending.request.summed(crc, whole)

    def _tell_slow(self, number: int, failure: str) -> None:
        """A fetch has ended; where the time went was reported just before."""
        slow, self._slow = self._slow, ()
        pending = self._pending.get(number)
        if slow and slow[0] == number and pending is not None and self.watcher is not None:
            request = pending.request
            _, seconds, queued, paused, tries = slow
            what = (request.version.key, request.start, request.length)
            _guarded(self.watcher, SlowFetch(*what, seconds, queued, paused, tries, failure))

    def _want(self, requests: int, size: int, lack: Wants) -> None:
        """The process lacks tokens; what is on its way there comes off. requests, size: all that it had got by then."""
        coming, coming_bytes = self._grants[0] - requests, self._grants[1] - size
        demand, demand_bytes = max(0, lack.demand_requests - coming), max(0, lack.demand_bytes - coming_bytes)
        ahead = max(0, lack.demand_requests + lack.ahead_requests - coming) - demand
        ahead_bytes = max(0, lack.demand_bytes + lack.ahead_bytes - coming_bytes) - demand_bytes
        self._party.want(Wants(demand, ahead, demand_bytes, ahead_bytes, lack.pressed))

    def _granted(self, requests: int, size: int) -> None:
        self._grants = (self._grants[0] + requests, self._grants[1] + size)
        self._tell((wire.GRANT, requests, size))

    def _bounded(self, bounds: Bounds) -> None:
        self._tell((wire.BOUNDS, *bounds))

    def _start_again(self, number: int, pending: Pending) -> None:
        self._tell(start_message(number, pending))

    def _finish(self, number: int, failure: OssMountError | None) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            _log.error("fetch process %d reports fetch %d, which it does not have", self._index, number)
            return
        if failure is not None and not pending.cancelled:
            self._complain(pending.request.version.key, failure)
        pending.ended = True
        del self._where[number]
        self.load -= pending.request.length + _FETCH_COST
        _guarded(pending.done, failure or pending.verdict)

    def _tell(self, message: wire.Message) -> None:
        self._outbox.append(message)
        if self._wake:
            self._wake.unpark()

    def _requeue(self) -> None:
        """What the ended process did not do is given to the next one."""
        now = time.monotonic()
        self._outbox = []
        # what only waited in the process's queue has not killed it
        for number, pending in list(self._pending.items()):
            if pending.waiting is not None:
                continue
            pending.repeats += number in self._carried
            if pending.cancelled:
                self._finish(number, Unavailable("cancelled: nobody waits any more"))
            elif pending.deadline <= now:
                self._finish(number, DeadlineExceeded("the fetch process did not answer before the deadline"))
            elif pending.repeats > _MAX_REPEATS:
                self._finish(number, Unavailable(f"{pending.repeats} fetch processes died of this request"))
            else:
                self._outbox.append(start_message(number, pending))


def _nobody(code: int) -> None:
    """Of a store that its process's end was taken for the end of."""


def _guarded(callback: Callable[..., None], argument: object) -> None:
    """Calls what the data path gave; a defect there must not stop the other fetches."""
    try:
        callback(argument)
    except Exception:
        _log.exception("a callback of a fetch failed")
