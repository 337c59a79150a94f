"""The way to OSS below HTTP: TCP, perhaps a proxy's tunnel, perhaps TLS; then bytes both ways, never blocking."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ossmount.errors import Unavailable
from ossmount.oss.fetch.answer import HeadReader
from ossmount.oss.fetch.link import WANT_WRITE, Link, PlainLink
from ossmount.oss.fetch.resolver import Address
from ossmount.oss.fetch.trouble import Retry, Trouble, transport

if TYPE_CHECKING:
    import ssl

    from ossmount.oss.fetch.tls import TlsLink

#: What receive() returns when nothing is there now.
NOTHING: Final = -1


class Tunnel(NamedTuple):
    """What must happen between TCP and the first request. Empty and None: nothing."""

    connect: bytes = b""  # the CONNECT request for a proxy
    tls: ssl.SSLContext | None = None
    host: str = ""  # whose certificate is expected


class Transport:
    """One socket, registered with the poller for what it waits for. Raises OSError and Trouble."""

    def __init__(self, poller: select.epoll, address: Address, tunnel: Tunnel, session: ssl.SSLSession | None) -> None:
        """Begins to connect. Raises OSError."""
        family, peer = address
        self.peer = str(peer[0])
        self.reached = False  # TCP stands
        self.open = False  # everything stands
        self._poller = poller
        self._tunnel = tunnel
        self._session = session
        self._heads: HeadReader | None = None  # of the proxy's answer to CONNECT
        self._tls: TlsLink | None = None
        self._unsent = memoryview(b"")
        self._mask = select.EPOLLIN | select.EPOLLOUT
        self._paused = False
        self._socket: socket.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._link: Link = PlainLink(self._socket)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = self._socket.connect_ex(peer)
            if error not in (0, errno.EINPROGRESS):
                raise OSError(error, os.strerror(error))
            poller.register(self._socket, self._mask)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def drains(self) -> bool:
        """After one receive() the poller tells of the rest; else receive until there is NOTHING."""
        return self._link.drains

    @property
    def sending(self) -> bool:
        """Some of the request has not been taken yet."""
        return bool(self._unsent)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later connection can resume."""
        return self._session if self._tls is None else self._tls.socket.session

    def close(self) -> None:
        self._socket.close()

    def bound_buffer(self, size: int) -> None:
        """At most so many bytes wait to be received (the kernel takes twice the number, for its own data too)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size // 2)

    def pause(self, paused: bool) -> None:
        """Does not tell any more that there are bytes; or does again."""
        if paused != self._paused:
            self._paused = paused
            self._want(0 if paused else select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0))

    def advance(self, scratch: memoryview) -> bool:
        """One step further after readiness; True once bytes can be sent."""
        if not self.reached:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            self.reached = True
            if self._tunnel.connect:
                self._heads = HeadReader()
                self.send(self._tunnel.connect)
                return False
        if self._heads is not None and not self._tunnelled(self._heads, scratch):
            return False
        if self._tunnel.tls is not None and not self._secured(self._tunnel.tls):
            return False
        self.open = True
        return True

    def send(self, data: bytes) -> None:
        """Sends data, the rest of it in flush()."""
        self._unsent = memoryview(data)
        self.flush()

    def flush(self) -> None:
        """Sends what is unsent, as far as the socket takes it."""
        while self._unsent:
            sent = self._link.send(self._unsent)
            if sent < 0:
                self._want(select.EPOLLIN | select.EPOLLOUT)
                return
            self._unsent = self._unsent[sent:]
        self._want(select.EPOLLIN)

    def receive(self, windows: Sequence[memoryview]) -> int:
        """Bytes received into the windows, in order; 0 at the end of the stream; NOTHING."""
        size = self._link.receive(windows)
        if size >= 0:
            return size
        self._want(select.EPOLLIN | (select.EPOLLOUT if size == WANT_WRITE or self._unsent else 0))
        return NOTHING

    def _want(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._poller.modify(self._socket, mask)

    def _tunnelled(self, heads: HeadReader, scratch: memoryview) -> bool:
        """Reads the proxy's answer to CONNECT."""
        self.flush()
        size = self.receive((scratch,))
        if size == 0:
            raise transport(f"the proxy {self.peer} closed the connection")
        taken = heads.feed(scratch[:size]) if size > 0 else None
        if taken is None:
            return False
        head, rest = taken
        if head.status == 407:
            raise Trouble(Unavailable, Retry.NEVER, "the proxy wants a user name and password: put them into the proxy's URL")
        if not 200 <= head.status <= 299 or rest:
            raise transport(f"the proxy {self.peer} answered {head.status} to CONNECT")
        self._heads = None
        return True

    def _secured(self, context: ssl.SSLContext) -> bool:
        from ossmount.oss.fetch.tls import TlsLink

        if self._tls is None:
            self._tls = TlsLink(self._socket, context, self._tunnel.host, self._session)
            self._socket, self._link = self._tls.socket, self._tls
        wanted = self._tls.handshake()
        if wanted == 0:
            return True
        self._want(select.EPOLLOUT if wanted == WANT_WRITE else select.EPOLLIN)
        return False
