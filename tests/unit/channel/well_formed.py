"""Well-formed requests about a small tree, and running a check against a channel that serves it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import Opcode
from tests.unit.channel.fake_kernel import FakeKernel, connected
from tests.unit.channel.memory_filesystem import MemoryFilesystem, Tree, sleep_a_little

TREE: Tree = {b"a": {b"inner": b"inner"}, b"file": bytes(range(256)) * 20, b"link": "a/inner"}
NAMES = {name: number for number, name in enumerate((b"a", b"inner", b"file", b"link"), start=2)}
Check = Callable[[KernelChannel, FakeKernel, MemoryFilesystem], Awaitable[None]]


def run(check: Check, *, slow: bool = False, tree: Tree = TREE, **options: object) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(tree)
        if slow:
            operations.slow = sleep_a_little
        async with connected(operations, **options) as (channel, kernel):  # type: ignore[arg-type]
            await check(channel, kernel, operations)

    trio.run(main)


def read_in(offset: int, size: int) -> bytes:
    return protocol.READ_IN.pack(0, offset, size, 0, 0, 0, 0)


#: A body for each opcode that the channel looks into, and the node it is about.
WELL_FORMED: dict[Opcode, tuple[bytes, int]] = {
    Opcode.LOOKUP: (b"file\0", 1),
    Opcode.GETATTR: (protocol.GETATTR_IN.pack(0, 0, 0), NAMES[b"file"]),
    Opcode.READLINK: (b"", NAMES[b"link"]),
    Opcode.OPEN: (protocol.OPEN_IN.pack(os.O_RDONLY, 0), NAMES[b"file"]),
    Opcode.READ: (read_in(0, 4096), NAMES[b"file"]),
    Opcode.STATFS: (b"", 1),
    Opcode.RELEASE: (protocol.RELEASE_IN.pack(1, 0, 0, 0), NAMES[b"file"]),
    Opcode.GETXATTR: (protocol.GETXATTR_IN.pack(100, 0) + b"user.oss.etag\0", NAMES[b"file"]),
    Opcode.LISTXATTR: (protocol.GETXATTR_IN.pack(100, 0), NAMES[b"file"]),
    Opcode.OPENDIR: (protocol.OPEN_IN.pack(0, 0), 1),
    Opcode.READDIR: (read_in(0, 4096), 1),
    Opcode.RELEASEDIR: (protocol.RELEASE_IN.pack(1, 0, 0, 0), 1),
    Opcode.READDIRPLUS: (read_in(0, 4096), 1),
}


def parse_listing(body: bytes, *, plus: bool) -> list[tuple[bytes, int, int, int]]:
    """(name, node id that the kernel now holds or 0, offset, d_type) of each entry."""
    found, position = [], 0
    head = protocol.DIRENTPLUS if plus else protocol.DIRENT
    while position < len(body):
        *entry, _inode, offset, length, kind = head.unpack_from(body, position)
        begin = position + head.size
        found.append((body[begin : begin + length], int(entry[0]) if plus else 0, offset, kind))
        position = begin + (length + 7 & -8)
    assert position == len(body)
    return found
