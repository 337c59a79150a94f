"""One connection to OSS: connects, tunnels, shakes hands, and carries one GET after the other.

Driven by readiness: the worker calls ready() when the poller says so, and closes a connection whose `expires` has passed.
The bodies of expected answers go straight into the slab; everything else goes through a scratch buffer.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ossmount.errors import Unavailable
from ossmount.oss.fetch.answer import MAX_HEAD, Chunks, Head, Malformed, parse_head
from ossmount.oss.fetch.exchange import judge
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.link import WANT_WRITE, Link, PlainLink
from ossmount.oss.fetch.resolver import Address
from ossmount.oss.fetch.trouble import Retry, Trouble, damaged, of_status, stalled, transport

if TYPE_CHECKING:
    import ssl

    from ossmount.oss.fetch.tls import TlsLink

#: Bytes of an error answer that are read; OSS writes a few hundred.
MAX_ERROR_BODY: Final = 64 << 10
#: Interim answers (1xx) before one final answer.
_MAX_INTERIM: Final = 8
#: Bytes between two reports of progress.
_PROGRESS_STEP: Final = 256 << 10


class Timeouts(NamedTuple):
    """Seconds."""

    connect: float  # TCP, tunnel and TLS handshake together
    first_byte: float  # from the request to the first byte of the answer
    stall: float  # between two bytes of it


class Tunnel(NamedTuple):
    """What must happen between TCP and the first request. Empty and None: nothing."""

    connect: bytes = b""  # the CONNECT request for a proxy
    tls: ssl.SSLContext | None = None
    host: str = ""  # whose certificate is expected


class Owner(Protocol):
    """What a connection tells its worker. It may be given a new job from within finished()."""

    scratch: memoryview
    tls_session: ssl.SSLSession | None  # of the last connection: the next one resumes it

    def finished(self, connection: Connection, job: Job) -> None:
        """All bytes of the job are in; the connection is idle or closed."""
        ...

    def failed(self, connection: Connection, job: Job, trouble: Trouble) -> None:
        """The attempt failed; the connection is idle or closed."""
        ...

    def progressed(self, job: Job) -> None: ...

    def closed(self, connection: Connection) -> None:
        """The connection's descriptor is about to be closed."""
        ...


class State(enum.Enum):
    CONNECTING = "connecting"
    TUNNEL = "tunnel"
    HANDSHAKE = "handshake"
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CHUNKS = "chunks"
    ERROR = "error"
    CLOSED = "closed"


class Connection:
    """One TCP connection. At most one job at a time."""

    def __init__(
        self, owner: Owner, poller: select.epoll, address: Address, tunnel: Tunnel, timeouts: Timeouts, now: float
    ) -> None:
        """Begins to connect. Raises OSError."""
        self._owner = owner
        self._poller = poller
        self._tunnel = tunnel
        self._timeouts = timeouts
        self.address = address
        family, peer = address
        self._peer = str(peer[0])
        self._socket: socket.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._link: Link = PlainLink(self._socket)
        self._tls: TlsLink | None = None
        self._mask = select.EPOLLIN | select.EPOLLOUT
        self._unsent = memoryview(b"")
        self._request = b""  # of the job, kept until the connection stands
        self._partial = bytearray()  # a head that came in pieces, or an error body
        self._interim = 0
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        self.state = State.CONNECTING
        self.job: Job | None = None
        self.served = 0  # answers that came over this connection
        self.reached = False  # TCP stood
        self.opened = now
        self.expires = now + timeouts.connect
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = self._socket.connect_ex(peer)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))
            poller.register(self._socket, self._mask)
        except OSError:
            self._socket.close()
            raise

    def __repr__(self) -> str:
        return f"<Connection to {self._peer}: {self.state.value}, {self.served} served>"

    def fileno(self) -> int:
        return self._socket.fileno()

    def begin(self, job: Job, request: bytes, now: float) -> None:
        """Sends a GET, as soon as the connection stands."""
        job.connection = self
        job.started_at = job.scatter.received
        self.job = job
        self._request = request
        if self.state is State.IDLE:
            self._guarded(self._ask, now)

    def ready(self, events: int, now: float) -> None:
        """The poller saw something."""
        if self.state is State.IDLE:
            self.close()  # the server ends the connection, or talks without being asked
        elif self.state is not State.CLOSED:
            self._guarded(self._step, now)

    def time_out(self) -> None:
        """Nothing came until `expires`."""
        if self.state in (State.CONNECTING, State.TUNNEL, State.HANDSHAKE):
            self._fail(transport(f"no connection to {self._peer} within {self._timeouts.connect:g} s"))
        elif self.state is State.HEAD and not self._partial:
            self._fail(stalled(f"no answer within {self._timeouts.first_byte:g} s"))
        elif self.state is not State.CLOSED:
            self._fail(stalled(f"the answer stalled for {self._timeouts.stall:g} s"))

    def close(self) -> None:
        """Closes the socket. The job, if any, is the caller's business."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._owner.closed(self)
            self._socket.close()

    # ---- inside

    def _guarded(self, action: _Action, now: float) -> None:
        """Runs one step and turns whatever goes wrong into a failed job."""
        try:
            action(now)
        except Trouble as trouble:
            self._fail(trouble)
        except Malformed as malformed:
            self._fail(damaged(f"{malformed} in the answer of {self._peer}"))
        except OSError as error:
            text = error.strerror or type(error).__name__
            self._fail(self._lost(text))

    def _lost(self, text: str) -> Trouble:
        """The connection broke: a kept-alive one before the answer began says nothing about the server."""
        if self.state is State.HEAD and self.served and not self._partial:
            return Trouble(Unavailable, Retry.AT_ONCE, f"{self._peer}: kept-alive connection closed ({text})")
        return transport(f"{self._peer}: {text} ({self.state.value})")

    def _fail(self, trouble: Trouble) -> None:
        job, self.job = self.job, None
        self.close()
        if job is not None:
            job.connection = None
            self._owner.failed(self, job, trouble)

    def _want(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._poller.modify(self._socket, mask)

    def _flush(self) -> bool:
        """Sends what is unsent; False when the socket takes no more for now."""
        while self._unsent:
            sent = self._link.send(self._unsent)
            if sent < 0:
                self._want(select.EPOLLIN | select.EPOLLOUT)
                return False
            self._unsent = self._unsent[sent:]
        self._want(select.EPOLLIN)
        return True

    def _step(self, now: float) -> None:
        if self.state in (State.BODY, State.HEAD):
            if self._unsent:
                self._flush()
            if self.state is State.BODY:
                self._receive_body(now)
            else:
                self._receive_head(now)
        elif self.state in (State.CHUNKS, State.ERROR):
            self._receive_rest(now)
        elif self.state is State.CONNECTING:
            self._connected(now)
        elif self.state is State.TUNNEL:
            self._receive_tunnel(now)
        else:
            self._handshake(now)

    def _connected(self, now: float) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.reached = True
        if self._tunnel.connect:
            self.state = State.TUNNEL
            self._unsent = memoryview(self._tunnel.connect)
            self._flush()
        else:
            self._secure(now)

    def _receive_tunnel(self, now: float) -> None:
        """The proxy's answer to CONNECT."""
        if not self._flush():
            return
        taken = self._take_head()
        if taken is None:
            return
        head, rest = taken
        if head.status == 407:
            raise Trouble(Unavailable, Retry.NEVER, "the proxy wants a user name and password: put them into the proxy's URL")
        if not 200 <= head.status <= 299 or rest:
            raise transport(f"the proxy {self._peer} answered {head.status} to CONNECT")
        self._secure(now)

    def _secure(self, now: float) -> None:
        """TCP stands: TLS where it is wanted, then the request."""
        if self._tunnel.tls is None:
            self._ask(now)
            return
        from ossmount.oss.fetch.tls import TlsLink

        self.state = State.HANDSHAKE
        self._tls = TlsLink(self._socket, self._tunnel.tls, self._tunnel.host, self._owner.tls_session)
        self._socket, self._link = self._tls.socket, self._tls
        self._handshake(now)

    def _handshake(self, now: float) -> None:
        assert self._tls is not None
        wanted = self._tls.handshake()
        if wanted == 0:
            self._ask(now)
        else:
            self._want(select.EPOLLOUT if wanted == WANT_WRITE else select.EPOLLIN)

    def _ask(self, now: float) -> None:
        self.state = State.HEAD
        self.expires = now + self._timeouts.first_byte
        self._partial.clear()
        self._interim = 0
        self._unsent = memoryview(self._request)
        self._flush()

    def _receive_head(self, now: float) -> None:
        while self.state is State.HEAD:
            taken = self._take_head()
            if taken is None:
                if self._partial:
                    self.expires = now + self._timeouts.stall
                return
            head, rest = taken
            while head.status < 200:
                self._interim += 1
                if self._interim > _MAX_INTERIM or head.status == 101:
                    raise Malformed("too many interim answers")
                self._partial[:] = rest
                again = self._split_head()
                if again is None:
                    break
                head, rest = again
            if head.status >= 200:
                self.expires = now + self._timeouts.stall
                self._begin_body(head, rest, now)

    def _take_head(self) -> tuple[Head, memoryview] | None:
        """Receives; the head and what follows it, or None while it is not complete."""
        scratch = self._owner.scratch
        size = self._link.receive((scratch,))
        if size <= 0:
            if size == 0:
                raise self._lost("closed by the other end")
            self._want(select.EPOLLIN | (select.EPOLLOUT if size == WANT_WRITE or self._unsent else 0))
            return None
        if not self._partial:
            raw = bytes(scratch[: min(size, 4096)])
            end = raw.find(b"\r\n\r\n")
            if end >= 0:
                return parse_head(raw[:end]), scratch[end + 4 : size]
        self._partial += scratch[:size]
        return self._split_head()

    def _split_head(self) -> tuple[Head, memoryview] | None:
        end = self._partial.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(self._partial) > MAX_HEAD):
            raise Malformed("more than 64 KiB of headers")
        if end < 0:
            return None
        raw = bytes(self._partial)
        self._partial.clear()
        return parse_head(raw[:end]), memoryview(raw)[end + 4 :]

    def _begin_body(self, head: Head, rest: memoryview, now: float) -> None:
        assert self.job is not None
        self._head = head
        self._partial.clear()
        self._chunks = Chunks() if head.chunked else None
        if head.status not in (200, 206):
            self.state = State.ERROR
            if head.status in (204, 304):
                self._end_error(reusable=False)
            else:
                self._feed_error(rest)
            return
        judge(head, self.job)
        if self._chunks is not None:
            self.state = State.CHUNKS
            self._feed_chunks(rest)
            return
        self.state = State.BODY
        missing = self.job.missing
        if rest:
            self.job.scatter.write(rest[:missing])
        if len(rest) >= missing:
            self._complete(reusable=len(rest) == missing)
        else:
            self._receive_body(now)

    def _receive_body(self, now: float) -> None:
        job = self.job
        assert job is not None
        scatter = job.scatter
        while True:
            size = self._link.receive(scatter.windows())
            if size <= 0:
                if size == 0:
                    raise self._lost(f"closed after {scatter.received} of {job.length} bytes")
                self._want(select.EPOLLIN | (select.EPOLLOUT if size == WANT_WRITE else 0))
                break
            scatter.received += size
            if scatter.received == scatter.length:
                self._complete(reusable=True)
                return
            if self._link.drains:
                break
        self.expires = now + self._timeouts.stall
        self._report(job)

    def _receive_rest(self, now: float) -> None:
        """A chunked body or an error's."""
        while self.state in (State.CHUNKS, State.ERROR):
            scratch = self._owner.scratch
            size = self._link.receive((scratch,))
            if size < 0:
                self._want(select.EPOLLIN | (select.EPOLLOUT if size == WANT_WRITE else 0))
                return
            self.expires = now + self._timeouts.stall
            if self.state is State.CHUNKS:
                if size == 0:
                    raise self._lost("closed within a chunked body")
                self._feed_chunks(scratch[:size])
            elif size == 0:
                self._end_error(reusable=False)
            else:
                self._feed_error(scratch[:size])
            if self._link.drains:
                return

    def _feed_chunks(self, data: memoryview) -> None:
        job, chunks = self.job, self._chunks
        assert job is not None and chunks is not None
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

    def _feed_error(self, data: memoryview) -> None:
        assert self._head is not None
        if self._chunks is not None:
            pieces, _ = self._chunks.feed(data)
            for piece in pieces:
                self._partial += piece
            over = exact = self._chunks.done
        else:
            self._partial += data
            over = self._head.length is not None and len(self._partial) >= self._head.length
            exact = len(self._partial) == self._head.length
        if over or len(self._partial) > MAX_ERROR_BODY:
            self._end_error(reusable=exact)

    def _end_error(self, *, reusable: bool) -> None:
        """The answer says that the job fails."""
        job, head = self.job, self._head
        assert job is not None and head is not None
        trouble = of_status(head, bytes(self._partial), job.key)
        if not reusable or head.close or self._unsent:
            raise trouble
        self.job = job.connection = None
        self._partial.clear()
        self.served += 1
        self.state = State.IDLE
        self._owner.failed(self, job, trouble)

    def _complete(self, *, reusable: bool) -> None:
        job, head = self.job, self._head
        assert job is not None and head is not None
        self.job = job.connection = None
        self.served += 1
        if self._tls is not None and self.served == 1:
            self._owner.tls_session = self._tls.socket.session
        framed = head.length is not None or head.chunked
        if reusable and framed and not head.close and not self._unsent:
            self.state = State.IDLE
        else:
            self.close()
        self._owner.finished(self, job)

    def _report(self, job: Job) -> None:
        if job.progress and job.scatter.received - job.reported >= _PROGRESS_STEP:
            self._owner.progressed(job)


class _Action(Protocol):
    def __call__(self, now: float) -> None: ...
