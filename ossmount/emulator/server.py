"""The server in a thread of its own: sockets, HTTP (uvicorn with h11) and the application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ossmount.emulator.accounts import Accounts
from ossmount.emulator.app import Application
from ossmount.emulator.faults import Faults
from ossmount.emulator.journal import Journal
from ossmount.emulator.store import Store

_START_LIMIT = 30.0  # seconds
_KEEP_ALIVE = 300  # seconds that an idle connection is kept
_MAX_HEAD = 64 << 10  # bytes of a request line and its headers; a key of 1,023 escaped bytes is 3 KiB


class EmulatedServer:
    """An OSS server over a folder, as a context manager.

    Ready when entered; when left, all connections are cut and the folder can be served again. Raises ValueError where the
    folder cannot be served, OSError where the address cannot be bound.

    >>> with EmulatedServer(folder) as server:
    ...     server.store.put("bucket", b"key", b"data")
    ...     use(server.url)
    ...     assert server.requests.count("GET") == 1
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        access_key_id: str = "test-id",
        access_key_secret: str = "test-secret",
        security_token: str = "",
        anonymous: bool = False,
        plain: bool = False,
        seed: int = 0,
    ) -> None:
        self.access_key_id = access_key_id
        self.access_key_secret = access_key_secret
        self.security_token = security_token
        self.accounts = Accounts(anonymous=anonymous)
        if access_key_id:
            self.accounts.add(access_key_id, access_key_secret, security_token)
        self.faults = Faults(seed)
        self.requests = Journal()
        self.url = ""
        self._directory = directory
        self._plain = plain
        self._address = (host, port)
        self._store: Store | None = None
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._server: uvicorn.Server | None = None
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        return f"EmulatedServer({str(self._directory)!r}, {self.url or 'stopped'})"

    @property
    def store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the server is not running")
        return self._store

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._transports)

    def drop_connections(self) -> None:
        """Cuts every connection, as a network that fails."""
        assert self._loop is not None
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._abort_all, done)
        done.wait(_START_LIMIT)

    def __enter__(self) -> EmulatedServer:
        listener = _listen(*self._address)
        self._listener = listener.dup()
        try:
            self._store = Store(self._directory, plain=self._plain)
            host, port = listener.getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._server = self._make_server(self._store)
            self._thread = threading.Thread(target=self._run, args=(listener,), name="ossmount-emulator", daemon=True)
            self._thread.start()
            self._wait_until_started()
        except BaseException as failure:
            if self._thread is None:  # else it closes its socket itself
                listener.close()
            self.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        stuck = False
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            if self._loop is not None and not self._loop.is_closed():
                with contextlib.suppress(RuntimeError):  # closed between the two lines: nothing is left to cut
                    self._loop.call_soon_threadsafe(self._abort_all, threading.Event())
            self._thread.join(_START_LIMIT)
            stuck = self._thread.is_alive()
        if self._listener is not None:
            with contextlib.suppress(OSError):  # ENOTCONN: it never listened
                self._listener.shutdown(socket.SHUT_RDWR)  # close() alone keeps it open where a forked child holds it
            self._listener.close()
        if self._store is not None:
            self._store.close()
        self._store = self._server = self._thread = self._loop = self._listener = None
        self.url = ""
        if value is None and (stuck or self._failure is not None):
            raise RuntimeError("the embedded OSS server did not end properly") from self._failure

    def _make_server(self, store: Store) -> uvicorn.Server:
        application = Application(store, self.accounts, self.faults, self.requests, self._transports)
        config = uvicorn.Config(
            application,
            http=_tracking_protocol(self._transports),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=_MAX_HEAD,
        )
        return uvicorn.Server(config)

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except BaseException as failure:
            self._failure = failure
        finally:
            listener.close()

    async def _serve(self, listener: socket.socket) -> None:
        assert self._server is not None
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[listener])

    def _wait_until_started(self) -> None:
        assert self._server is not None and self._thread is not None
        limit = time.monotonic() + _START_LIMIT
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > limit:
                raise RuntimeError("the embedded OSS server did not start") from self._failure
            time.sleep(0.002)

    def _abort_all(self, done: threading.Event) -> None:
        for transport in list(self._transports.values()):
            transport.abort()
        done.set()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY where the protocol is named, and without it each answer of two writes costs 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


def _tracking_protocol(transports: dict[tuple[str, int], asyncio.Transport]) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, which enters its connections into `transports`: ASGI has no way to cut one."""

    class TrackingProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transports[transport.get_extra_info("peername")[:2]] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            peer = self.transport.get_extra_info("peername")[:2]
            if transports.get(peer) is self.transport:
                del transports[peer]
            super().connection_lost(exc)

    return TrackingProtocol
