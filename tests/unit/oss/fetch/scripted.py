"""A raw HTTP server on loopback whose every answer a test scripts, and a client that fetches through a real pool."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias, cast
from urllib.parse import unquote_to_bytes

import trio
from fastcrc import crc64

from ossmount.config import Credentials, FetchConfig, SourceConfig
from ossmount.errors import OssMountError
from ossmount.model import Version
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchRequest
from ossmount.oss.rates.rates import Rates

#: Instead of bytes: end the connection, break it, or say nothing until the server stops.
CLOSE: Final = "close"
RESET: Final = "reset"
HANG: Final = "hang"

Action: TypeAlias = "bytes | str | threading.Event"


class Request(NamedTuple):
    """A request as it came."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    nth: int  # of those for this key, from 0

    @property
    def key(self) -> bytes:
        return unquote_to_bytes(self.target.split("//", 1)[-1].split("/", 2)[2] if "//" in self.target else self.target[8:])


Script: TypeAlias = Callable[[Request], Sequence[Action]]


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def honest(data: bytes, etag: str, request: Request, *, crc: bool = True) -> bytes:
    """What OSS answers, in one piece."""
    if request.headers.get("if-match") != f'"{etag}"':
        body = b"<Error><Code>PreconditionFailed</Code></Error>"
        return head("412 Precondition Failed", f"Content-Length: {len(body)}") + body
    lines = [f'ETag: "{etag}"', "x-oss-request-id: 5C3D9175"]
    if crc:
        lines.append(f"x-oss-hash-crc64ecma: {crc64.xz(data)}")
    if "range" in request.headers:
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        body = data[first : last + 1]
        lines += [f"Content-Range: bytes {first}-{last}/{len(data)}", f"Content-Length: {len(body)}"]
        return head("206 Partial Content", *lines) + body
    return head("200 OK", *lines, f"Content-Length: {len(data)}") + data


class ScriptedServer:
    """Serves bucket "bucket" by path; each connection has a thread, all end with stop()."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self.requests: list[Request] = []
        self.connections = 0
        self.resumed = 0  # TLS sessions
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(30)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
                self._sockets.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock, number), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                with self._lock:
                    self._sockets.discard(sock)
                    sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    self._sockets.add(sock)
                assert isinstance(sock, ssl.SSLSocket)
                sock.do_handshake()
                self.resumed += bool(sock.session_reused)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in self._read(sock, number):
                if not self._act(sock, self._script(request)):
                    return
        except OSError:
            pass  # the client went away, or stop() cut the connection
        finally:
            with self._lock:
                self._sockets.discard(sock)
            sock.close()

    def _read(self, sock: socket.socket, number: int) -> Iterator[Request]:
        with sock.makefile("rb") as stream:
            while True:
                first = stream.readline()
                if not first.endswith(b"\r\n"):
                    return
                words = first.decode("latin-1").split(" ")
                if len(words) != 3 or not words[2].startswith("HTTP/"):
                    return  # no HTTP: a TLS client's random bytes may have an end of a line in them
                method, target, _ = words
                headers: dict[str, str] = {}
                while (line := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                with self._lock:
                    nth = sum(request.target == target for request in self.requests)
                    request = Request(number, method, target, headers, nth)
                    self.requests.append(request)
                yield request

    def _act(self, sock: socket.socket, actions: Sequence[Action]) -> bool:
        """False when the connection is over."""
        for action in actions:
            if isinstance(action, bytes):
                sock.sendall(action)
            elif isinstance(action, threading.Event):
                while not action.wait(0.05):
                    if self._stopped.is_set():
                        return False
            elif action == HANG:
                self._stopped.wait()
                return False
            else:
                if action == RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


@contextlib.contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, tls)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Wanted:
    """One fetch and what became of it."""

    key: bytes
    data: bytes  # of the whole object, as it should arrive
    etag: str = "E1"
    start: int = 0
    length: int = -1  # to the end
    pieces: int = 1
    demand: bool = True
    failure: OssMountError | None = None
    received: bytes = b""
    calls: int = 0
    progress: list[int] = field(default_factory=list)
    verdict: OssMountError | None = None  # on its checksum
    sums: list[tuple[int, int | None]] | None = None  # those of the range and of the object go there, where it is a list

    def __post_init__(self) -> None:
        if self.length < 0:
            self.length = len(self.data) - self.start

    def summed(self, crc: int, whole: int | None) -> OssMountError | None:
        assert self.calls == 0 and self.sums is not None
        self.sums.append((crc, whole))
        return self.verdict

    @property
    def right(self) -> bool:
        """Arrived, once, with the right bytes."""
        return self.failure is None and self.calls == 1 and self.received == self.data[self.start : self.start + self.length]


class Slab:
    """A memfd with gaps of 64 guard bytes between everything that is laid out in it."""

    GAP: Final = 64

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self.targets: list[tuple[tuple[int, int], ...]] = []
        at = self.GAP
        for item in wanted:
            pieces = []
            for index in range(item.pieces):
                size = item.length * (index + 1) // item.pieces - item.length * index // item.pieces
                pieces.append((at, size))
                at += size + self.GAP
            self.targets.append(tuple(pieces))
        self.size = at
        self.fd = os.memfd_create("test-slab")
        os.truncate(self.fd, self.size)
        self.map = mmap.mmap(self.fd, self.size)
        self.map[:] = b"\xee" * self.size

    def content(self, index: int) -> bytes:
        return b"".join(self.map[at : at + size] for at, size in self.targets[index])

    def guards_intact(self) -> bool:
        """Nothing was written outside the targets."""
        at = 0
        for pieces in self.targets:
            for start, size in pieces:
                if self.map[at:start] != b"\xee" * (start - at):
                    return False
                at = start + size
        return self.map[at:] == b"\xee" * (self.size - at)

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


def source(url: str, **options: object) -> SourceConfig:
    return SourceConfig("bucket", endpoint=url, **{"timeout": 60.0, **options})  # type: ignore[arg-type]


def fetch_all(
    config: SourceConfig,
    wanted: Sequence[Wanted],
    *,
    workers: int = 1,
    connections: int = 16,
    environment: dict[str, str] | None = None,
    rates: Rates | None = None,
    hedge_above: float = math.inf,
    during: Callable[[FetchPool, list[int]], object] | None = None,
    verify: bool = True,
) -> dict[str, object]:
    """Fetches everything at once through a pool of its own, fills in what became of it, and returns the pool's facts.

    during: called in a thread once all was asked for, with the pool and the numbers of the fetches.
    """
    slab = Slab(wanted)
    try:
        fetch_config = FetchConfig(workers, connections, hedge_above=hedge_above, verify=verify)
        facts = trio.run(_fetch_all, config, wanted, slab, fetch_config, environment or {}, rates, during)
        for index, item in enumerate(wanted):
            item.received = slab.content(index)
        assert slab.guards_intact()
        return facts
    finally:
        slab.close()


async def _fetch_all(
    config: SourceConfig,
    wanted: Sequence[Wanted],
    slab: Slab,
    fetch_config: FetchConfig,
    environment: dict[str, str],
    rates: Rates | None,
    during: Callable[[FetchPool, list[int]], object] | None,
) -> dict[str, object]:
    pool = FetchPool(config, fetch_config, slab.fd, slab.size, rates=rates, environment=environment)
    finished = trio.Event()
    left = len(wanted)

    def done_of(item: Wanted) -> Callable[[OssMountError | None], None]:
        def done(failure: OssMountError | None) -> None:
            nonlocal left
            item.failure = failure
            item.calls += 1
            left -= 1
            if not left:
                finished.set()

        return done

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            started = trio.Event()
            nursery.start_soon(pool.run, started.set)
            await started.wait()
            numbers = [
                pool.fetch(
                    FetchRequest(
                        Version(item.key, item.etag, len(item.data)),
                        item.start,
                        item.length,
                        targets,
                        item.demand,
                        None if item.sums is None else item.summed,
                    ),
                    done_of(item),
                    item.progress.append,
                )
                for item, targets in zip(wanted, slab.targets, strict=True)
            ]
            if during is not None:
                await trio.to_thread.run_sync(during, pool, numbers, abandon_on_cancel=True)
            await finished.wait()
            facts = pool.facts()
            nursery.cancel_scope.cancel()
    return facts


def wait_until(condition: Callable[[], bool]) -> None:
    """Polls, and fails after a minute."""
    end = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def cancel_after_retries(pool: FetchPool, numbers: list[int]) -> None:
    """For fetch_all(during=): sees two retries, then ends the fetches."""
    wait_until(lambda: cast(int, pool.facts().get("retries", 0)) >= 2)
    for number in numbers:
        trio.from_thread.run_sync(pool.cancel, number)


CREDENTIALS: Final = Credentials("test-id", "test-secret")
