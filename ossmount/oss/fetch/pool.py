"""The daemon's end of the data plane: spreads fetches over the fetch processes and hands out what they report.

Concurrency: everything here runs on the event loop's thread. fetch(), promote() and cancel() only append to a process's
outbox and wake its writer task, so that all fetches of one turn of the loop leave in one send(). For each process one
Slot lives as long as the pool, and one task (Slot.run) that starts the process, again when it ends. A fetch is in
exactly one slot's `pending` until its done is called; done is never called while a process that could still write its
targets lives (a dead or stuck process is killed and waited for first).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from ossmount.config import Credentials, FetchConfig, SourceConfig
from ossmount.errors import DeadlineExceeded, OssMountError, Unavailable
from ossmount.oss.endpoint import endpoint_of
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.process import FetchProcess
from ossmount.oss.fetch.proxies import proxy_of
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest

_log = logging.getLogger(__name__)

#: How often a fetch is repeated because the process that carried it died.
_MAX_REPEATS: Final = 2
#: Seconds after its deadline at which a fetch proves that its process is stuck.
_STUCK: Final = 5.0
#: Seconds between two looks for stuck processes, and between two questions for the credentials.
_WATCH: Final = 1.0
#: Seconds before a process that did not even start is started again, at first and at most.
_RESTART: Final = (0.1, 5.0)
#: What one fetch costs a process beyond its bytes, in bytes; to spread small and large fetches alike.
_FETCH_COST: Final = 128 << 10


@dataclass(slots=True)
class _Pending:
    """A fetch that is not done."""

    request: FetchRequest
    done: FetchDone
    progress: FetchProgress | None
    deadline: float
    demand: bool
    repeats: int = 0
    cancelled: bool = False


class FetchPool:
    """A Fetcher over fetch processes that receive into the slab."""

    def __init__(
        self,
        source: SourceConfig,
        config: FetchConfig,
        slab_fd: int,
        slab_size: int,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """environment: where the proxy variables and those for the processes are looked up, once.

        Raises ValueError, with a message for the user, for an endpoint or a proxy that cannot be used.
        """
        count = config.workers or max(1, min(4, (os.cpu_count() or 1) // 2))
        endpoint = endpoint_of(source)
        settings = WorkerSettings(
            bucket=source.bucket,
            endpoint=(endpoint.host, endpoint.port, endpoint.tls, endpoint.host_header, endpoint.base),
            region=source.region,
            connections=max(1, -(-config.connections // count)),
            connect_timeout=source.connect_timeout,
            timeout=source.timeout,
            proxy=proxy_of(endpoint, source.proxy, environment),
        )
        self._source = source
        self._timeout = source.timeout
        self._credentials = Credentials()
        self._asked = -_WATCH  # when the credentials were
        self._number = 0
        self._where: dict[int, Slot] = {}
        self._closed = False

        def start() -> FetchProcess:
            return FetchProcess(settings, slab_fd, slab_size, environment)

        self._slots = [Slot(index, start, self._where, self._credentials_message) for index in range(count)]

    def __repr__(self) -> str:
        return f"<FetchPool of {len(self._slots)} processes, {len(self._where)} fetches>"

    # ---- Fetcher

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        """Starts a fetch and returns its number. After run() has ended, done is called with Unavailable before it returns.

        No progress is reported of a whole object: its bytes are not to be seen before they are verified.
        """
        self._number = number = self._number + 1
        now = time.monotonic()
        if self._closed:
            done(Unavailable("the fetch processes are shut down"))
            return number
        if now - self._asked >= _WATCH:
            self._renew_credentials(now)
        slot = self._slots[0]
        for other in self._slots:
            if other.load < slot.load:
                slot = other
        self._where[number] = slot
        slot.add(number, _Pending(request, done, progress, now + self._timeout, request.demand))
        return number

    def promote(self, number: int) -> None:
        """A reader waits now for what was readahead: its deadline counts from now."""
        slot = self._where.get(number)
        if slot is not None:
            slot.promote(number, time.monotonic() + self._timeout)

    def cancel(self, number: int) -> None:
        """Nobody waits any more: done is called soon, with Unavailable unless the bytes were nearly there."""
        slot = self._where.get(number)
        if slot is not None:
            slot.cancel(number)

    # ---- daemon

    async def run(self, started: Callable[[], None]) -> None:
        """Owns the processes until cancelled, then ends them and fails what is not done.

        Calls started once every process answers. Raises RuntimeError when one cannot be started at all.
        """
        try:
            async with trio.open_nursery() as nursery:
                for slot in self._slots:
                    nursery.start_soon(slot.run)
                for slot in self._slots:
                    await slot.ready.wait()
                started()
        finally:
            self._closed = True
            for slot in self._slots:
                slot.abandon(Unavailable("the fetch processes are shut down"))

    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    def facts(self) -> dict[str, object]:
        """Counters since the start and what is under way."""
        totals: dict[str, object] = {}
        sums: dict[str, int] = {}
        for slot in self._slots:
            for counters in (slot.counters, slot.former_counters):
                for name, value in counters.items():
                    sums[name] = sums.get(name, 0) + value
        totals.update(sums)
        totals["processes"] = len(self._slots)
        totals["pids"] = self.pids()
        totals["restarts"] = sum(slot.restarts for slot in self._slots)
        totals["outstanding"] = len(self._where)
        return totals

    def _credentials_message(self) -> wire.Message:
        self._renew_credentials(time.monotonic(), push=False)
        credentials = self._credentials
        return (wire.CREDENTIALS, credentials.access_key_id, credentials.access_key_secret, credentials.security_token)

    def _renew_credentials(self, now: float, *, push: bool = True) -> None:
        """Asks for the credentials and tells the processes when they have changed; the last good ones serve on."""
        self._asked = now
        try:
            credentials = self._source.credentials()
        except Exception:
            _log.exception("no new credentials: the last ones are used on")
            return
        if credentials != self._credentials:
            self._credentials = credentials
            if push:
                for slot in self._slots:
                    slot.tell_credentials()


class Slot:
    """One fetch process at a time, and the fetches that it was given."""

    def __init__(
        self,
        index: int,
        start: Callable[[], FetchProcess],
        where: dict[int, Slot],
        credentials_message: Callable[[], wire.Message],
    ) -> None:
        self._index = index
        self._start = start
        self._where = where
        self._credentials_message = credentials_message
        self._pending: dict[int, _Pending] = {}
        self._outbox: list[wire.Message] = []
        self._wake = trio.lowlevel.ParkingLot()
        self._answered = False  # the process that runs now has sent something
        self.process: FetchProcess | None = None
        self.ready = trio.Event()  # a process has answered once
        self.load = 0  # bytes under way, with a share for each fetch
        self.restarts = 0
        self.counters: dict[str, int] = {}
        self.former_counters: dict[str, int] = {}  # of the processes that ended

    def __repr__(self) -> str:
        return f"<Slot {self._index}: {self.process and self.process.pid}, {len(self._pending)} fetches>"

    def add(self, number: int, pending: _Pending) -> None:
        self._pending[number] = pending
        self.load += pending.request.length + _FETCH_COST
        self._tell(_start_message(number, pending))

    def promote(self, number: int, deadline: float) -> None:
        pending = self._pending[number]
        pending.demand = True
        pending.deadline = max(pending.deadline, deadline)
        self._tell((wire.PROMOTE, number, pending.deadline))

    def cancel(self, number: int) -> None:
        self._pending[number].cancelled = True
        self._tell((wire.CANCEL, number))

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
                status = -1
                _log.warning("fetch process %d cannot be started: %s", self._index, error.strerror)
            self.restarts += 1
            if not self._answered and not self.ready.is_set():
                raise RuntimeError(f"fetch process {self._index} does not start: status {status}, see its message on stderr")
            _log.warning("fetch process %d ended with status %d: starting a new one", self._index, status)
            self._requeue()
            if self._answered:
                pause = _RESTART[0]
            else:
                await trio.sleep(pause)
                pause = min(_RESTART[1], pause * 2)

    async def _run_once(self) -> int:
        """One process from start to end; its exit status."""
        self._answered = False
        self.process = process = self._start()
        self._outbox.insert(0, self._credentials_message())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, process)
                nursery.start_soon(self._watch, process)
                await self._read(process)
                nursery.cancel_scope.cancel()
        finally:
            status = await process.end()
            self.process = None
            for name, value in self.counters.items():
                self.former_counters[name] = self.former_counters.get(name, 0) + value
            self.counters = {}
        return status

    async def _write(self, process: FetchProcess) -> None:
        """Sends the outbox whenever there is something in it, all in one piece."""
        control = process.control
        while True:
            if not self._outbox:
                await self._wake.park()
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

    async def _read(self, process: FetchProcess) -> None:
        """Takes reports until the process ends."""
        control, unpacker = process.control, wire.Unpacker()
        while True:
            await trio.lowlevel.wait_readable(control)
            try:
                data = control.recv(1 << 18)
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
            if any(pending.deadline < late for pending in self._pending.values()):
                _log.error("fetch process %d (pid %d) is stuck: it is killed", self._index, process.pid)
                process.kill()
                return

    def _take(self, message: wire.Message) -> None:
        kind = message[0]
        if kind == wire.DONE:
            _, number, failure, text = message
            self._finish(number, wire.FAILURES[failure](text) if failure else None)
        elif kind == wire.PROGRESS:
            pending = self._pending.get(message[1])
            if pending is not None and pending.progress is not None:
                _guarded(pending.progress, message[2])
        elif kind == wire.COUNTERS:
            self.counters = message[1]
        elif kind == wire.READY:
            self._answered = True
            self.ready.set()

    def _finish(self, number: int, failure: OssMountError | None) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            _log.error("fetch process %d reports fetch %d, which it does not have", self._index, number)
            return
        del self._where[number]
        self.load -= pending.request.length + _FETCH_COST
        _guarded(pending.done, failure)

    def _tell(self, message: wire.Message) -> None:
        self._outbox.append(message)
        if self._wake:
            self._wake.unpark()

    def _requeue(self) -> None:
        """What the ended process did not do is given to the next one."""
        now = time.monotonic()
        self._outbox = []
        for number, pending in list(self._pending.items()):
            pending.repeats += 1
            if pending.cancelled:
                self._finish(number, Unavailable("cancelled: nobody waits any more"))
            elif pending.deadline <= now:
                self._finish(number, DeadlineExceeded("the fetch process did not answer before the deadline"))
            elif pending.repeats > _MAX_REPEATS:
                self._finish(number, Unavailable(f"{pending.repeats} fetch processes died of this request"))
            else:
                self._outbox.append(_start_message(number, pending))


def _start_message(number: int, pending: _Pending) -> wire.Message:
    version, start, length, targets, _ = pending.request
    key, etag, size = version
    wants_progress = pending.progress is not None
    return (wire.START, number, key, etag, size, start, length, targets, pending.demand, wants_progress, pending.deadline)


def _guarded(callback: Callable[..., None], argument: object) -> None:
    """Calls what the data path gave; a defect there must not stop the other fetches."""
    try:
        callback(argument)
    except Exception:
        _log.exception("a callback of a fetch failed")
