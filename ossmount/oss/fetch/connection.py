"""One connection to OSS: carries one GET after the other.

Driven by readiness: the worker calls ready() when the poller says so, and time_out() when `expires` has passed.
The bodies of expected answers go straight into the slab; everything else goes through a scratch buffer.
"""

from __future__ import annotations

import enum
import math
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ossmount.errors import Unavailable
from ossmount.oss.fetch.answer import Chunks, Head, HeadReader, Malformed
from ossmount.oss.fetch.exchange import judge
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.patience import Patience
from ossmount.oss.fetch.resolver import Address
from ossmount.oss.fetch.transport import Transport, Tunnel
from ossmount.oss.fetch.trouble import Retry, Trouble, damaged, of_status, stalled, transport

if TYPE_CHECKING:
    import ssl

#: Bytes of an error answer that are read; OSS writes a few hundred.
MAX_ERROR_BODY: Final = 64 << 10
#: Interim answers (1xx) before one final answer.
_MAX_INTERIM: Final = 8
#: Bytes between two reports of progress.
_PROGRESS_STEP: Final = 256 << 10


class Timeouts(NamedTuple):
    connect: float  # seconds for TCP, tunnel and TLS handshake together
    patience: Patience  # for the first byte of an answer, and between two bytes of it


class Owner(Protocol):
    """What a connection tells its worker, which must not begin a new job from within."""

    scratch: memoryview
    tls_session: ssl.SSLSession | None  # of the last connection: the next one resumes it

    def asked(self) -> None:
        """A request goes out."""
        ...

    def won(self, connection: Connection, job: Job) -> None:
        """The answer begins to a job for which there are two requests: no byte of it has been written yet."""
        ...

    def finished(self, connection: Connection, job: Job) -> None:
        """All bytes of the job are in; the connection is idle or closed."""
        ...

    def failed(self, connection: Connection, job: Job, trouble: Trouble) -> None:
        """The attempt failed; the connection is idle or closed. job.connection: the other request, where there were two."""
        ...

    def progressed(self, job: Job) -> None: ...

    def answering(self, seconds: float) -> None:
        """An answer has begun, so long after its request."""
        ...

    def closed(self, connection: Connection) -> None:
        """The connection's descriptor is about to be closed."""
        ...


class State(enum.Enum):
    OPENING = "opening"
    IDLE = "idle"
    HEAD = "head"  # the request is out, or on its way
    BODY = "body"  # of known length, into the slab
    CHUNKS = "chunks"  # a chunked body
    ERROR = "error"  # the body of an error answer
    CLOSED = "closed"


class Connection:
    """One connection, with at most one job at a time."""

    def __init__(
        self, owner: Owner, poller: select.epoll, address: Address, tunnel: Tunnel, timeouts: Timeouts, now: float
    ) -> None:
        """Begins to connect. Raises OSError."""
        self._owner = owner
        self._timeouts = timeouts
        self._transport = Transport(poller, address, tunnel, owner.tls_session)
        self._request = b""  # of the job, kept until the connection stands
        self._heads = HeadReader()
        self._interim = 0
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        self._error = bytearray()
        self.address = address
        self.state = State.OPENING
        self.job: Job | None = None
        self.paused = False  # not received from, since the limit has no bytes left for it
        self.served = 0  # answers that came over this connection
        self.opened = now
        self.begun = now  # when it was given the job
        self._asked = now  # when the request went out
        self._silence = math.inf  # seconds for which nothing may come
        self.expires = now + timeouts.connect

    def __repr__(self) -> str:
        return f"<Connection to {self._transport.peer}: {self.state.value}, {self.served} served>"

    def fileno(self) -> int:
        return self._transport.fileno()

    @property
    def reached(self) -> bool:
        """The other end accepted the TCP connection."""
        return self._transport.reached

    def bound_buffer(self, size: int) -> None:
        """No more bytes than that are ever on their way or wait to be received. Raises OSError."""
        self._transport.bound_buffer(size)

    @property
    def silent(self) -> bool:
        """Nothing of an answer has come."""
        return self.state is State.OPENING or (self.state is State.HEAD and not self._heads.begun)

    def begin(self, job: Job, request: bytes, now: float, *, second: bool = False) -> None:
        """Sends a GET, as soon as the connection stands. Only when idle or just made. second: beside another request."""
        if second:
            job.rival = self
        else:
            job.connection = self
            job.started_at = job.scatter.received
        self.job = job
        self.begun = now
        self._silence = self._timeouts.patience.silence(job.silences)
        self._request = request
        if self.state is State.IDLE:
            self._guarded(self._ask, now)

    def ready(self, now: float) -> None:
        """The poller saw something."""
        if self.state is State.IDLE:
            self.close()  # the server ends the connection, or talks without being asked
        elif self.state is not State.CLOSED:
            self._guarded(self._step, now)

    def pause(self, paused: bool, now: float) -> None:
        """Stops receiving the body, so that the server stops sending; or goes on. Silence does not count meanwhile."""
        if paused == self.paused or self.state is not State.BODY:
            return
        self.paused = paused
        self.expires = math.inf if paused else now + self._silence
        self._transport.pause(paused)

    def time_out(self) -> None:
        """Nothing came until `expires`."""
        if self.state is State.OPENING:
            self._fail(transport(f"no connection to {self._transport.peer} within {self._timeouts.connect:g} s"))
        elif self.state is State.HEAD and not self._heads.begun:
            self._give_up(f"no answer within {self._silence:.3g} s")
        elif self.state is not State.CLOSED:
            self._give_up(f"the answer stalled for {self._silence:.3g} s")

    def close(self) -> None:
        """Closes the socket. The job, if any, is the caller's business."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._owner.closed(self)
            self._transport.close()

    # ---- inside

    def _give_up(self, text: str) -> None:
        if self.job is not None:
            self.job.silences += 1
        self._timeouts.patience.silent(self._silence)
        self._fail(stalled(text))

    def _guarded(self, action: Callable[[float], None], now: float) -> None:
        """Runs one step and turns whatever goes wrong into a failed job."""
        try:
            action(now)
        except Trouble as trouble:
            self._fail(trouble)
        except Malformed as malformed:
            self._fail(damaged(f"{malformed}, from {self._transport.peer}"))
        except OSError as error:
            self._fail(self._lost(error.strerror or type(error).__name__))

    def _lost(self, text: str) -> Trouble:
        """The connection broke: a kept-alive one before the answer began says nothing about the server."""
        if self.state is State.HEAD and self.served and not self._heads.begun:
            return Trouble(Unavailable, Retry.AT_ONCE, f"{self._transport.peer}: kept-alive connection closed ({text})")
        return transport(f"{self._transport.peer}: {text} ({self.state.value})")

    def _fail(self, trouble: Trouble) -> None:
        job, self.job = self.job, None
        self.close()
        if job is not None:
            job.leave(self)
            self._owner.failed(self, job, trouble)

    def _step(self, now: float) -> None:
        if self._transport.sending and self.state is not State.OPENING:
            self._transport.flush()
        if self.state is State.BODY:
            self._receive_body(now)
        elif self.state is State.HEAD:
            self._receive_head(now)
        elif self.state is State.OPENING:
            if self._transport.advance(self._owner.scratch):
                self._ask(now)
        else:
            self._receive_rest(now)

    def _ask(self, now: float) -> None:
        self.state = State.HEAD
        self._asked = now
        self.expires = now + self._silence
        self._interim = 0
        self._owner.asked()
        self._transport.send(self._request)

    def _receive_head(self, now: float) -> None:
        scratch = self._owner.scratch
        while True:
            size = self._transport.receive((scratch,))
            if size < 0:
                return
            if size == 0:
                raise self._lost("closed by the other end")
            taken = self._heads.feed(scratch[:size])
            while taken is not None and taken[0].status < 200:
                self._interim += 1
                if self._interim > _MAX_INTERIM or taken[0].status == 101:
                    raise Malformed("an unexpected interim answer")
                taken = self._heads.feed(taken[1])
            self.expires = now + self._silence
            if taken is not None:
                self._owner.answering(now - self._asked)
                self._begin_body(*taken, now)
                return

    def _begin_body(self, head: Head, rest: memoryview, now: float) -> None:
        job = self.job
        assert job is not None
        self._head = head
        self._chunks = Chunks() if head.chunked else None
        if head.status not in (200, 206):
            self.state = State.ERROR
            self._error.clear()
            self._feed_error(rest)
            return
        judge(head, job)
        if job.rival is not None:
            self._owner.won(self, job)
        if self._chunks is not None:
            self.state = State.CHUNKS
            self._feed_chunks(self._chunks, rest)
            return
        self.state = State.BODY
        missing = job.missing
        if rest:
            job.scatter.write(rest[:missing])
        if len(rest) >= missing:
            self._complete(reusable=len(rest) == missing)
        else:
            self._receive_body(now)

    def _receive_body(self, now: float) -> None:
        job = self.job
        assert job is not None
        scatter = job.scatter
        while True:
            size = self._transport.receive(scatter.windows())
            if size < 0:
                break
            if size == 0:
                raise self._lost(f"closed after {scatter.received} of {job.length} bytes")
            scatter.received += size
            if scatter.received == scatter.length:
                self._complete(reusable=True)
                return
            if self._transport.drains:
                break
        self.expires = now + self._silence
        self._report(job)

    def _receive_rest(self, now: float) -> None:
        """A chunked body or an error's."""
        scratch = self._owner.scratch
        while self.state in (State.CHUNKS, State.ERROR):
            size = self._transport.receive((scratch,))
            if size < 0:
                return
            self.expires = now + self._silence
            if self.state is State.ERROR:
                self._feed_error(scratch[:size], end=size == 0)
            elif size == 0:
                raise self._lost("closed within a chunked body")
            elif self._chunks is not None:
                self._feed_chunks(self._chunks, scratch[:size])
            if self._transport.drains:
                return

    def _feed_chunks(self, chunks: Chunks, data: memoryview) -> None:
        job = self.job
        assert job is not None
        pieces, used = chunks.feed(data)
        for piece in pieces:
            if len(piece) > job.missing:
                raise Malformed(f"more than {job.length} bytes")
            job.scatter.write(piece)
        if chunks.done:
            if job.missing:
                raise Malformed(f"{job.length - job.missing} of {job.length} bytes and the end")
            self._complete(reusable=used == len(data))
        else:
            self._report(job)

    def _feed_error(self, data: memoryview, *, end: bool = False) -> None:
        """Collects the body of an error answer; once it is over, the attempt has failed."""
        head = self._head
        assert head is not None
        if self._chunks is not None:
            pieces, used = self._chunks.feed(data)
            for piece in pieces:
                self._error += piece
            whole, exact = self._chunks.done, used == len(data)
        else:
            self._error += data
            length = 0 if head.status in (204, 304) else head.length
            whole, exact = length is not None and len(self._error) >= length, len(self._error) == length
        if whole or end or len(self._error) > MAX_ERROR_BODY:
            self._end_error(head, reusable=whole and exact and not end)

    def _end_error(self, head: Head, *, reusable: bool) -> None:
        job = self.job
        assert job is not None
        trouble = of_status(head, bytes(self._error), job.key)
        if not self._rest(head, reusable=reusable):
            raise trouble
        self.job = None
        job.leave(self)
        self._owner.failed(self, job, trouble)

    def _complete(self, *, reusable: bool) -> None:
        job, head = self.job, self._head
        assert job is not None and head is not None
        self.job = job.connection = None
        if not self._rest(head, reusable=reusable):
            self.close()
        self._owner.finished(self, job)

    def _rest(self, head: Head, *, reusable: bool) -> bool:
        """An answer is over: waits for the next job if the connection can carry one."""
        self.served += 1
        self.paused = False
        self._transport.pause(False)
        if self.served == 1:
            self._owner.tls_session = self._transport.session
        if not reusable or head.close or self._transport.sending:
            return False
        self.state = State.IDLE
        return True

    def _report(self, job: Job) -> None:
        # Of readahead that nobody waits for the daemon hears once it is done: the reader of a large file is behind one of
        # dozens of windows.
        if job.demand and job.progress and job.scatter.received - job.reported >= _PROGRESS_STEP:
            self._owner.progressed(job)
