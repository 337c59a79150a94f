"""The connections of a fetch process: kept when idle, made where a new one is needed, closed when they are too old."""

from __future__ import annotations

import select
from typing import Final

from ossmount.oss.endpoint import Endpoint
from ossmount.oss.fetch.connection import Connection, Owner, State, Timeouts
from ossmount.oss.fetch.patience import Patience
from ossmount.oss.fetch.resolver import Address, Resolver
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.transport import Tunnel
from ossmount.oss.fetch.trouble import transport

#: Seconds after which an idle connection is not trusted any more: OSS closes after about 60, NAT gateways forget silently.
_MAX_IDLE: Final = 30.0
#: Seconds after which a connection is closed when idle, so that connections follow DNS.
_MAX_AGE: Final = 300.0
#: Bytes up to which the buffer of a connection is bounded, where bytes are limited: no more is then ever on its way than was
#: paid. The kernel does not grant larger ones (net.core.rmem_max); where a limit is that high it grows them as they are used.
_LARGEST_BUFFER: Final = 256 << 10


class Connections:
    """All of them. How many there may be is the worker's business."""

    def __init__(self, owner: Owner, poller: select.epoll, settings: WorkerSettings, patience: Patience, now: float) -> None:
        endpoint, proxy = Endpoint(*settings.endpoint), settings.proxy
        self._owner = owner
        self._poller = poller
        self._tunnel = _tunnel(endpoint, settings)
        self._timeouts = Timeouts(min(settings.connect_timeout, settings.timeout), patience)
        self._buffer = settings.prepaid if settings.prepaid <= _LARGEST_BUFFER else 0
        self._idle: dict[Connection, float] = {}  # since when; the last one is used first
        self.resolver = Resolver(*(proxy[:2] if proxy else (endpoint.host, endpoint.port)))
        self.resolver.begin(now)  # the first fetch need not wait for it
        self.by_descriptor: dict[int, Connection] = {}

    @property
    def busy(self) -> int:
        return len(self.by_descriptor) - len(self._idle)

    def take(self, now: float) -> Connection | None:
        """One to carry a job; None when there is no address yet. Raises Trouble when no connection can even be begun."""
        while self._idle:
            connection, since = self._idle.popitem()
            if now - since <= _MAX_IDLE:
                return connection
            connection.close()
        address = self.resolver.next(now)
        return None if address is None else self._connect(address, now)

    def release(self, connection: Connection, now: float) -> None:
        """Its job is over, and it is idle or closed."""
        if connection.state is State.IDLE:
            if now - connection.opened > _MAX_AGE:
                connection.close()
            else:
                self._idle[connection] = now

    def failed(self, connection: Connection, now: float) -> None:
        """Its job failed: where the other end was not even reached, other addresses are tried first."""
        if not connection.reached:
            self.resolver.failed(connection.address, now)

    def closed(self, connection: Connection) -> None:
        self.by_descriptor.pop(connection.fileno(), None)
        self._idle.pop(connection, None)

    def close_idle(self, now: float) -> None:
        """Closes what was idle for too long."""
        for connection in [connection for connection, since in self._idle.items() if now - since > _MAX_IDLE]:
            connection.close()

    def _connect(self, address: Address, now: float) -> Connection:
        try:
            connection = Connection(self._owner, self._poller, address, self._tunnel, self._timeouts, now)
            if self._buffer:
                connection.bound_buffer(self._buffer)
        except OSError as error:
            self.resolver.failed(address, now)
            raise transport(f"{address[1][0]}: {error.strerror}") from None
        self.by_descriptor[connection.fileno()] = connection
        return connection


def _tunnel(endpoint: Endpoint, settings: WorkerSettings) -> Tunnel:
    if not endpoint.tls:
        return Tunnel()
    from ossmount.oss.trust import client_context

    connect = ""
    if settings.proxy:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        connect = f"CONNECT {host}:{endpoint.port} HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\n"
        if settings.proxy[2]:
            connect += f"Proxy-Authorization: {settings.proxy[2]}\r\n"
        connect += "\r\n"
    return Tunnel(connect.encode(), client_context(), endpoint.host)
