"""A fetch process: one thread, one epoll, its share of the connections, bodies received straight into the slab.

Started by ossmount.oss.fetch.process; talks to the daemon as ossmount.oss.fetch.wire says; ends when the daemon does.
"""

from __future__ import annotations

import math
import random
import select
import socket
import time
from typing import TYPE_CHECKING, Final

from ossmount.config import Credentials
from ossmount.errors import OssMountError
from ossmount.oss.clock import ServerClock
from ossmount.oss.fetch import allowance, backoff, wire
from ossmount.oss.fetch.allowance import Allowance
from ossmount.oss.fetch.connection import Connection, State
from ossmount.oss.fetch.connections import Connections
from ossmount.oss.fetch.delivery import Delivery, Latency
from ossmount.oss.fetch.exchange import request_writer
from ossmount.oss.fetch.in_hand import InHand
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.jobs import JobQueue
from ossmount.oss.fetch.patience import Budget, Patience
from ossmount.oss.fetch.phases import Phases
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.trouble import CANCELLED, Retry, Trouble, damaged, overdue

if TYPE_CHECKING:
    import ssl

#: Bytes that one recv() of a head may take; what of the body comes along is copied, the rest is not.
_SCRATCH: Final = 16 << 10
#: Bytes of messages that one recv() takes. From 128 KiB on malloc() maps and unmaps memory for each, four system calls more.
_MESSAGES: Final = 64 << 10
#: Seconds between two looks at the timeouts while anything is under way.
_SWEEP: Final = 0.25
#: The same at least, where requests are made a second time soon.
_SHORT_SWEEP: Final = 0.02
#: A cancelled fetch that misses no more than this is finished: that costs less than a new connection.
_FINISH_ANYWAY: Final = 512 << 10


class Worker:
    """Carries jobs over connections until the daemon closes the control socket."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: WorkerSettings, in_hand: InHand) -> None:
        self.scratch = memoryview(bytearray(_SCRATCH))
        self.tls_session: ssl.SSLSession | None = None
        self._slab = slab
        self._delivery = Delivery(slab)
        self._latency = Latency()
        self._descriptors: list[int] = []  # received, for the LEND that comes
        self._control = control
        self._unpacker = wire.Unpacker()
        self._outgoing: list[wire.Message] = []
        self._unsent = b""
        self._poller = select.epoll()
        self._settings = settings
        self._limit = settings.connections
        self._credentials = Credentials()
        self._generation = 0  # of the credentials
        self._clock = ServerClock()
        self._writer = request_writer(settings, lambda: self._credentials, self._clock)
        self._in_hand = in_hand
        self._jobs: dict[int, Job] = {}  # all that are not done
        self._queue = JobQueue()
        self._now = time.monotonic()
        self._patience = Patience(settings.silence, settings.hedge_above)
        self._second_requests = Budget()
        self._connections = Connections(self, self._poller, settings, self._patience, self._now)
        self._allowance = Allowance(settings.prepaid)
        self._wanted = (self._allowance.seen, allowance.NOTHING)  # as the daemon was told
        self._next_sweep = 0.0
        self._phases = Phases(settings.slow_after)
        self.counters = dict.fromkeys(wire.COUNTED, 0)
        self._told: dict[str, int] = {}  # the counters that the daemon knows
        control.setblocking(False)
        self._poller.register(control, select.EPOLLIN)
        self._poller.register(self._connections.resolver.fileno(), select.EPOLLIN)
        self._outgoing.append((wire.READY,))

    def run(self) -> None:
        """Until the daemon closes its end."""
        control, resolver = self._control.fileno(), self._connections.resolver
        resolving = resolver.fileno()
        poll, connections = self._poller.poll, self._connections.by_descriptor
        while True:
            self._flush()
            ready = poll(self._until_needed())
            self._now = now = time.monotonic()
            for fd, events in ready:
                connection = connections.get(fd)
                if connection is not None:
                    connection.ready(now)
                elif fd == resolving:
                    resolver.arrived()
                elif fd == control and events & ~select.EPOLLOUT and not self._listen():
                    return
            self._queue.due(now)
            if now >= self._next_sweep:
                self._sweep(now)
            self._dispatch()
            if self._allowance.bounded:
                self._account(now)

    # ---- the daemon

    def _listen(self) -> bool:
        """Takes the daemon's messages; False when it is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGES, 2)
            self._descriptors += descriptors
        except (BlockingIOError, InterruptedError):
            return True
        except ConnectionResetError:
            return False
        for message in self._unpacker.feed(data):
            kind = message[0]
            if kind == wire.START:
                self._start(message)
            elif kind == wire.PROMOTE:
                self._promote(message[1], message[2])
            elif kind == wire.CANCEL:
                self._cancel(message[1])
            elif kind == wire.GRANT:
                self._allowance.grant(message[1], message[2])
            elif kind == wire.CONNECTIONS:
                self._limit = message[1]
            elif kind == wire.BOUNDS:
                self._allowance.bound(message[1], message[2])
            elif kind == wire.STORE:
                _, number, node, size, targets = message
                self._outgoing.append((wire.STORED, number, self._delivery.store(node, size, targets)))
            elif kind == wire.LEND:
                self._delivery.lend(self._descriptors)
                self._descriptors = []
            elif kind == wire.REVOKE:
                self._delivery.revoke()
            elif kind == wire.CREDENTIALS:
                self._credentials = Credentials(*message[1:])
                self._generation += 1
        return bool(data)

    def _flush(self) -> None:
        """Sends what the daemon has not been told yet, in one piece."""
        if self._outgoing:
            # before the reports: who is told that a fetch is done finds it in the counters
            self._told = dict(self.counters)
            self._unsent += wire.pack([(wire.COUNTERS, self._told), *self._outgoing])
            self._outgoing = []
            mask = select.EPOLLIN | select.EPOLLOUT
        elif self._unsent:
            mask = select.EPOLLIN
        else:
            return
        had_to_wait = mask == select.EPOLLIN
        try:
            self._unsent = self._unsent[self._control.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = b""  # the daemon is gone: the next recv() says so
        if bool(self._unsent) or had_to_wait:
            self._poller.modify(self._control, select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0))

    def _start(self, message: wire.Message) -> None:
        try:
            job = Job(message, self._slab)
        except ValueError as error:
            self._outgoing.append((wire.DONE, message[1], OssMountError.__name__, str(error)))
            return
        self._jobs[job.number] = job
        self._phases.arrived(job, self._now)
        self._queue.add(job)

    def _promote(self, number: int, deadline: float) -> None:
        job = self._jobs.get(number)
        if job is not None:
            job.demand = True
            job.deadline = max(job.deadline, deadline)
            self._queue.promote(number)
            self._phases.hurried(job, self._now)  # what failed when nobody waited may be over for whoever waits now
            if job.progress and job.scatter.received > job.reported:
                self.progressed(job)

    def _cancel(self, number: int) -> None:
        job = self._jobs.get(number)
        if job is None:
            return
        if job.connection is None:
            self._queue.remove(number)
        elif job.missing <= _FINISH_ANYWAY and job.connection.reached:
            job.cancelled = True
            return
        else:
            self._drop_connections(job)
        self._end(job, CANCELLED)

    def _drop_connections(self, job: Job) -> None:
        """Nothing that is still on its way for the job is wanted."""
        for connection in (job.connection, job.rival):
            if connection is not None:
                connection.job = None
                connection.close()
        job.connection = job.rival = None

    def _end(self, job: Job, trouble: Trouble | None) -> None:
        """The job is over: tells the daemon."""
        del self._jobs[job.number]
        self._in_hand.end(job.number)
        self._outgoing += self._phases.slow(job, self._now)
        failure, text = ("", "") if trouble is None else (trouble.failure.__name__, trouble.text)
        self._outgoing.append((wire.DONE, job.number, failure, text))

    # ---- connections tell

    def asked(self) -> None:
        self.counters["requests"] += 1

    def won(self, connection: Connection, job: Job) -> None:
        """One of two requests is answered: the other one is given up, before a byte of either was written."""
        loser = job.connection if connection is job.rival else job.rival
        assert loser is not None
        if connection is job.rival:
            self.counters["hedges_won"] += 1
            self._patience.silent(self._now - loser.begun)
        job.connection, job.rival = connection, None
        loser.job = None
        loser.close()

    def finished(self, connection: Connection, job: Job) -> None:
        """All bytes are in: verifies them, and gives the connection its next job."""
        self._allowance.charge(job)
        self._phases.attempted(job, self._now)
        self.counters["answered"] += 1
        self.counters["bytes"] += job.length - job.started_at
        right = job.is_right() if self._settings.verify else None
        if right is False:
            self._again(job, damaged(f"GET {job.key!r}: the bytes fail their CRC64"))
        else:
            if job.whole:
                self.counters["verified" if right else "unverified"] += 1
            elif job.summed:
                self._outgoing.append((wire.SUMMED, job.number, job.scatter.crc64(), job.crc64))
            self._end(job, None)
        self._connections.release(connection, self._now)

    def failed(self, connection: Connection, job: Job, trouble: Trouble) -> None:
        """An attempt failed: another one later, the other one of two that is still under way, or the end of the job."""
        if job.connection is not None:
            if trouble.retry is not Retry.NEVER:
                self._count(trouble)
                self._connections.failed(connection, self._now)
                self._connections.release(connection, self._now)
                return
            self._drop_connections(job)
        self._allowance.charge(job)
        self._phases.attempted(job, self._now)
        self.counters["bytes"] += job.scatter.received - job.started_at
        self._connections.failed(connection, self._now)
        self._again(job, trouble)
        self._connections.release(connection, self._now)

    def progressed(self, job: Job) -> None:
        job.reported = job.scatter.received
        self._outgoing.append((wire.PROGRESS, job.number, job.reported))

    def answering(self, seconds: float) -> None:
        self._phases.answering(seconds)
        estimate = self._latency.add(seconds, self._connections.busy, self._now)
        if estimate is not None:
            self._outgoing.append((wire.LATENCY, estimate))

    def closed(self, connection: Connection) -> None:
        self._connections.closed(connection)

    def _again(self, job: Job, trouble: Trouble) -> None:
        """Decides what follows a failed attempt."""
        now = self._now
        if trouble.retry is not Retry.LATER:
            self.counters["answered"] += 1
        if trouble.retry is Retry.ONCE:
            job.damages += 1
            job.restart()
        elif trouble.retry is Retry.RESIGNED:
            if job.resigned or not self._clock.learn(trouble.date):
                trouble = Trouble(trouble.failure, Retry.NEVER, trouble.text)
            job.resigned = True
        job.attempts = 1 if job.scatter.received > job.started_at else job.attempts + 1
        self._count(trouble)
        wait = backoff.delay(trouble.retry, job.attempts, job.damages, random.random)
        if job.cancelled or wait is None or now + wait >= job.deadline:
            self._end(job, CANCELLED if job.cancelled else trouble)
            return
        if trouble.retry is not Retry.AT_ONCE:
            job.trouble = trouble
        self.counters["retries"] += 1
        self._in_hand.end(job.number)
        self._phases.paused(job, now, wait)
        self._queue.delay(job, now + wait)

    def _count(self, trouble: Trouble) -> None:
        if trouble.counter:
            self.counters[trouble.counter] += 1

    # ---- work

    def _dispatch(self) -> None:
        """Gives waiting jobs to idle and new connections, as fast as OSS takes them. A share is kept free for demand."""
        self._queue.due(self._now)
        reserved = self._limit // 8 or (1 if self._limit > 1 else 0)
        while len(self._queue):
            busy = self._connections.busy
            if busy >= self._limit or not self._allowance.may_start(demand=self._queue.demands):
                return
            job = self._queue.take(readahead=busy < self._limit - reserved)
            if job is None or not self._carry(job):
                return

    def _carry(self, job: Job) -> bool:
        """Puts a job on a connection; False when there is no address yet."""
        try:
            connection = self._connections.take(self._now)
            if connection is None:
                self._queue.put_back(job)
                return False
            request = self._writer.get(job)
        except Trouble as trouble:
            job.started_at = job.scatter.received
            self._again(job, trouble)
            return True
        self.counters["connections"] += connection.state is State.OPENING
        self._allowance.started(job)
        self._phases.begun(job, self._now)
        self._in_hand.begin(job.number)
        connection.begin(job, request, self._now)
        return True

    def _hedge(self, now: float) -> None:
        """Makes a second request where a reader waits longer than nearly all others did. The first answer counts."""
        for job in self._patience.late(list(self._connections.by_descriptor.values()), now):
            if self._connections.busy >= self._limit or not self._allowance.may_start(demand=True):
                return
            try:
                second = self._connections.take(now) if self._second_requests.spend() else None
            except Trouble:
                return
            if second is None:
                return
            self.counters["hedged"] += 1
            self.counters["connections"] += second.state is State.OPENING
            self._allowance.repeated(job)
            second.begin(job, self._writer.get(job), now, second=True)

    def _account(self, now: float) -> None:
        """Where there is a limit: who may receive, and what to ask the daemon for."""
        connections = self._connections
        waiting = self._queue.waiting(max(0, self._limit - connections.busy), self._settings.prepaid)
        lack = self._allowance.balance(connections.by_descriptor.values(), waiting, now)
        wanted = (self._allowance.seen, lack)
        if wanted != self._wanted and (lack != allowance.NOTHING or self._wanted[1] != allowance.NOTHING):
            self._wanted = wanted
            self._outgoing.append((wire.WANT, *self._allowance.seen, *lack))

    def _sweep(self, now: float) -> None:
        """Timeouts, deadlines, idle connections."""
        self._patience.learn(self._phases.first_bytes, now)
        self._second_requests.earn(self.counters["requests"])
        self._next_sweep = now + min(_SWEEP, max(_SHORT_SWEEP, self._patience.hedge_after / 4))
        for connection in list(self._connections.by_descriptor.values()):
            job = connection.job
            if job is not None and job.deadline <= now:
                held = connection.paused
                self._drop_connections(job)
                self._end(job, overdue(job.key, job.trouble, held=held))
            elif job is not None and connection.expires <= now:
                connection.time_out()
        if self._told != self.counters:
            self._outgoing.append((wire.COUNTERS, dict(self.counters)))
        if self._phases.untold:
            self._outgoing.append(self._phases.message())
        for job in self._queue.expire(now):
            self._end(job, overdue(job.key, job.trouble, held=self._allowance.bounded))
        if self._patience.hedge_after < math.inf:
            self._hedge(now)
        self._connections.close_idle(now)

    def _until_needed(self) -> float:
        """Seconds until something must be looked at without being asked."""
        if not self._jobs and not self._phases.untold:
            return 10.0 if self._connections.by_descriptor else 3600.0
        times = [self._next_sweep - self._now]
        due = self._queue.next_due()
        if due is not None:
            times.append(due - self._now)
        return max(0.0, min(times))
