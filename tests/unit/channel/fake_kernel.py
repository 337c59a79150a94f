"""The kernel's side of the protocol over a socket that keeps the borders of messages, as /dev/fuse does."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trio

from ossmount.channel.interface import LocalCopies, Taken
from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import Opcode
from ossmount.config import ChannelConfig
from ossmount.filesystem.interface import Operations

LIMIT = 60.0  # seconds; against hangs only
ALL_FLAGS = (1 << 44) - 1
LARGEST = 1 << 20  # bytes of an answer, at most


class Answer(NamedTuple):
    error: int  # as the kernel gets it: 0 or negative
    unique: int
    body: bytes


def request(
    opcode: int, unique: int, body: bytes = b"", *, node: int = 1, length: int | None = None, extensions: int = 0
) -> bytes:
    """fuse_in_header and a body; length lies when it is given."""
    size = protocol.IN_HEADER.size + len(body) if length is None else length
    return protocol.IN_HEADER.pack(size, opcode, unique, node, 0, 0, 0, extensions, 0) + body


def init_in(minor: int = 45, flags: int = ALL_FLAGS, *, major: int = 7, max_readahead: int = 128 << 10) -> bytes:
    """fuse_init_in in the length that a kernel of this minor version sends."""
    body = protocol.INIT_IN.pack(major, minor, max_readahead, flags & 0xFFFFFFFF)
    return body + (flags >> 32).to_bytes(4, "little") + bytes(44) if minor >= 36 else body


def parse_answer(data: bytes) -> Answer:
    length, error, unique = protocol.OUT_HEADER.unpack_from(data)
    assert length == len(data)
    return Answer(error, unique, data[protocol.OUT_HEADER.size :])


class FakeKernel:
    """Sends requests and receives answers."""

    def __init__(self, connection: trio.socket.SocketType) -> None:
        self._connection = connection
        self._uniques = itertools.count(2, 2)  # the kernel's are even

    async def send(self, message: bytes) -> None:
        await self._connection.send(message)

    async def post(
        self, opcode: int, body: bytes = b"", *, node: int = 1, length: int | None = None, extensions: int = 0, unique: int = -1
    ) -> int:
        """Sends a request; its unique."""
        number = next(self._uniques) if unique < 0 else unique
        await self.send(request(opcode, number, body, node=node, length=length, extensions=extensions))
        return number

    async def receive(self) -> Answer:
        return parse_answer(await self._connection.recv(LARGEST))

    async def ask(
        self, opcode: int, body: bytes = b"", *, node: int = 1, length: int | None = None, extensions: int = 0
    ) -> Answer:
        """A request and its answer, which is the next one that comes."""
        unique = await self.post(opcode, body, node=node, length=length, extensions=extensions)
        answer = await self.receive()
        assert answer.unique == unique
        return answer

    async def nothing_more(self) -> None:
        """Everything sent before was handled and answered no further: the next answer is that of one more request."""
        await self.ask(Opcode.STATFS)


class FakeKeeper:
    """A Succession without processes: what one channel leaves, the next one takes."""

    mounter = None

    def __init__(self) -> None:
        self.journal = os.memfd_create("journal")
        self.alive, self._ours = os.pipe()
        self.agreement: Mapping[str, Any] | None = None
        self.fd = -1  # of the next channel's connection
        self.after_death = True
        self.told: list[str] = []
        self.backed: dict[int, int] = {}  # inode of the file behind each number that was not given back
        self.numbers = itertools.count(1)
        self.refuses = 0  # errno

    def backings(self) -> set[int]:
        return set(self.backed)

    async def back(self, file: int) -> int:
        await trio.sleep(0.001)
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        number = next(self.numbers)
        self.backed[number] = os.fstat(file).st_ino
        return number

    def unback(self, backing: int) -> None:
        del self.backed[backing]

    def taken(self) -> Taken | None:
        if self.agreement is None:
            return None
        return Taken(self.fd, json.loads(json.dumps(self.agreement)), self.after_death)

    def keep(self, fd: int, agreement: Mapping[str, Any]) -> None:
        self.told.append("keep")
        self.agreement = agreement

    def left(self) -> None:
        self.told.append("left")

    def end(self) -> None:
        self.told.append("end")

    def close(self) -> None:
        for descriptor in (self.journal, self.alive, self._ours):
            os.close(descriptor)


@asynccontextmanager
async def connected(
    operations: Operations,
    *,
    minor: int = 45,
    flags: int = ALL_FLAGS,
    initialize: bool = True,
    keeper: FakeKeeper | None = None,
    copies: LocalCopies | None = None,
    **options: object,
) -> AsyncIterator[tuple[KernelChannel, FakeKernel]]:
    """A KernelChannel that serves the other end. One that takes over (keeper.agreement) is sent no INIT."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST)
    fd = theirs.detach()
    if keeper is not None and keeper.agreement is not None:
        keeper.fd, initialize = fd, False
    config = ChannelConfig(Path("/nowhere/mounted"), "fake", fuse_fd=fd, **options)  # type: ignore[arg-type]
    channel = KernelChannel(operations, config, keeper, copies)
    ready = trio.Event()
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            connection = trio.socket.from_stdlib_socket(ours)
            nursery.start_soon(channel.serve, ready.set)
            kernel = FakeKernel(connection)
            try:
                if initialize:
                    await kernel.ask(Opcode.INIT, init_in(minor, flags))
                    await ready.wait()
                yield channel, kernel
            finally:
                connection.close()
