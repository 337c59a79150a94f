"""A file system that costs nothing: what the FUSE layer alone can do, over each channel.

    python -m benchmarks.null_filesystem MOUNTPOINT --channel kernel|pyfuse3|bare [--files N] [--size B] [--big B]

It holds N files f0, f1, … of one size and one `big` file, all read from one buffer in memory. `bare` is the least that
can answer the kernel in Python: one synchronous loop, no trio, no checks, no errors; the kernel channel is held against
it. It serves until it is unmounted, and prints the counts of requests then.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import math
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Channel
from ossmount.channel.kernel_channel import init, packing, protocol
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import Opcode
from ossmount.config import ChannelConfig
from ossmount.errors import NotFound, StaleNode, Unsupported
from ossmount.filesystem.interface import (
    Attributes,
    Common,
    DirectoryEntry,
    Entry,
    FilesystemStatistics,
    Operations,
    ReadDone,
)
from ossmount.model import Soon

ROOT, BIG, FIRST = 1, 2, 10
MTIME_NS = 1_700_000_000 * 10**9
BUFFER_SIZE = 4 << 20  # bytes; larger than every READ
LISTED = 4096  # names of one list()


class NullFilesystem:
    """Operations whose answers are all in memory (ossmount.filesystem.interface)."""

    def __init__(self, files: int, size: int, big: int) -> None:
        self._files = files
        self._size = size
        self._big = big
        self._data = memoryview(bytes(range(256)) * (BUFFER_SIZE // 256))

    def attributes(self, node: int) -> Attributes:
        if node == ROOT:
            return Attributes(node, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, MTIME_NS)
        size = self._big if node == BIG else self._size
        if node != BIG and not FIRST <= node < FIRST + self._files:
            raise StaleNode(f"node {node}")
        return Attributes(node, stat.S_IFREG | 0o644, 1, 0, 0, size, (size + 511) // 512, MTIME_NS)

    def lookup(self, parent: int, name: bytes) -> Soon[Entry]:
        node = BIG
        if name != b"big":
            if name[:1] != b"f" or not name[1:].isdigit() or int(name[1:]) >= self._files:
                raise NotFound(os.fsdecode(name))
            node = FIRST + int(name[1:])
        return Entry(node, self.attributes(node), math.inf, math.inf)

    def getattr(self, node: int) -> Soon[tuple[Attributes, float]]:
        return self.attributes(node), math.inf

    def readlink(self, node: int) -> Soon[bytes]:
        raise Unsupported("no symlinks here")

    def open(self, node: int, flags: int) -> Soon[bool]:
        return True

    def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
        length = max(0, min(size, (self._big if node == BIG else self._size) - offset))
        done((self._data[:length],))

    def list(self, node: int, offset: int) -> Soon[Sequence[DirectoryEntry]]:
        last = min(self._files, offset + LISTED)
        return [self._listed(index) for index in range(offset, last)]

    def _listed(self, index: int) -> DirectoryEntry:
        node, mode, nlink, uid, gid, size, _, mtime_ns = self.attributes(FIRST + index)
        return DirectoryEntry(
            b"f%d" % index, node, size, mtime_ns, index + 1, Common(mode, nlink, uid, gid, math.inf, math.inf)
        )

    def getxattr(self, node: int, name: bytes) -> Soon[bytes]:
        raise Unsupported("no extended attributes here")

    def listxattr(self, node: int) -> Soon[Sequence[bytes]]:
        return []

    def statfs(self) -> FilesystemStatistics:
        return FilesystemStatistics(4096, 1, self._files, 255)

    def forget(self, node: int, count: int) -> None:
        pass


class BareLoop:
    """A Channel as small as it can be: blocking reads, and no answer but the expected one."""

    def __init__(self, operations: Operations, config: ChannelConfig) -> None:
        self._operations = operations
        self._config = config
        self._counts: dict[str, int] = {}

    async def serve(self, ready: Callable[[], None]) -> None:
        mounted = mounting.mount(self._config.mountpoint, self._config.source, allow_other=self._config.allow_other)
        os.set_blocking(mounted.fd, True)
        try:
            ready()
            self._loop(mounted)
        finally:
            os.close(mounted.fd)

    def unmount(self) -> None:
        mounting.unmount(self._config.mountpoint, lazy=True)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        raise NotImplementedError

    def invalidate_node(self, node: int) -> None:
        raise NotImplementedError

    async def known(self, nodes: Sequence[int]) -> Sequence[int]:
        return nodes

    async def caught_up(self) -> None: ...

    def after_invalidations(self, then: Callable[[], None]) -> None:
        raise NotImplementedError

    def facts(self) -> dict[str, object]:
        return {"name": "bare", "requests": self._counts}

    def _loop(self, mounted: mounting.Mounted) -> None:
        fd, operations, buffer = mounted.fd, self._operations, bytearray(64 << 10)
        counts = [0] * 64
        while True:
            try:
                size = os.readv(fd, (buffer,))
            except OSError as failure:
                if failure.errno == errno.ENODEV:
                    break
                continue
            _, opcode, unique, node, *_ = protocol.IN_HEADER.unpack_from(buffer)
            counts[opcode] += 1
            try:
                self._answer(mounted, operations, buffer, size, opcode, unique, node)
            except NotFound:
                os.write(fd, packing.pack_error(unique, errno.ENOENT))
        self._counts = {opcode.name: counts[opcode] for opcode in Opcode if counts[opcode]}

    def _answer(
        self,
        mounted: mounting.Mounted,
        operations: Operations,
        buffer: bytearray,
        size: int,
        opcode: int,
        unique: int,
        node: int,
    ) -> None:
        fd = mounted.fd
        if opcode == 15:

            def done(result: object) -> None:
                view = cast(Sequence[memoryview], result)[0]
                os.writev(fd, (protocol.OUT_HEADER.pack(16 + view.nbytes, 0, unique), view))

            _, offset, length, *_ = protocol.READ_IN.unpack_from(buffer, 40)
            operations.read(node, offset, length, done)
        elif opcode == 1:
            os.write(fd, packing.pack_entry(unique, cast(Entry, operations.lookup(node, bytes(buffer[40 : size - 1])))))
        elif opcode == 3:
            os.write(fd, packing.pack_attributes(unique, *cast(tuple[Attributes, float], operations.getattr(node))))
        elif opcode in (2, 36, 42):
            pass
        elif opcode == 39:
            os.write(fd, packing.pack_error(unique, errno.ENOTTY))
        elif opcode == 44:
            self._list(fd, operations, buffer, unique, node)
        elif opcode == 26:
            offer = init.parse_offer(buffer[40:size], os.uname().release)
            answer = init.pack_init_out(init.negotiate(offer, self._config))
            os.write(fd, protocol.OUT_HEADER.pack(16 + len(answer), 0, unique) + answer)
            mounting.set_read_ahead_kb(mounted.mountpoint, self._config.read_ahead_kb)
        elif opcode == 17:
            os.write(fd, packing.pack_statistics(unique, operations.statfs()))
        else:
            os.write(fd, packing.pack_error(unique, errno.ENOSYS))

    def _list(self, fd: int, operations: Operations, buffer: bytearray, unique: int, node: int) -> None:
        _, offset, length, *_ = protocol.READ_IN.unpack_from(buffer, 40)
        answer = bytearray(16 + length)
        names = cast(Sequence[DirectoryEntry], operations.list(node, offset))
        end, _ = packing.put_directory_entries_plus(answer, 16, 16 + length, names, 0, 0)
        protocol.OUT_HEADER.pack_into(answer, 0, end, 0, unique)
        os.write(fd, memoryview(answer)[:end])


def make_channel(kind: str, operations: Operations, config: ChannelConfig) -> Channel:
    """The channel by its name: kernel, pyfuse3 or bare."""
    if kind == "kernel":
        return KernelChannel(operations, config)
    if kind == "bare":
        return BareLoop(operations, config)
    return cast(Channel, importlib.import_module("ossmount.channel.pyfuse3_channel").Pyfuse3Channel(operations, config))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A null file system over one of the channels.")
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--channel", choices=("kernel", "pyfuse3", "bare"), default="kernel")
    parser.add_argument("--files", type=int, default=20_000, help="how many small files (default 20,000)")
    parser.add_argument("--size", type=int, default=128 << 10, help="bytes of a small file (default 128 KiB)")
    parser.add_argument("--big", type=int, default=2 << 30, help="bytes of the big file (default 2 GiB)")
    parser.add_argument("--read-ahead-kb", type=int, default=1024, help="of the mount's bdi, 0 leaves it (default 1024)")
    parser.add_argument("--open", choices=("auto", "skip", "ask"), default="auto", help="as the mount option")
    options = parser.parse_args(arguments)
    config = ChannelConfig(options.mountpoint, "null", read_ahead_kb=options.read_ahead_kb, open=options.open)
    channel = make_channel(options.channel, NullFilesystem(options.files, options.size, options.big), config)
    trio.run(channel.serve, lambda: print("mounted", flush=True))
    print(json.dumps(channel.facts(), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
