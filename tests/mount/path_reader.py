"""A reader process for test_every_path: reads files in every way there is and judges each byte. Run as a program:

path_reader.py MOUNT TABLE NUMBER SEED OPERATIONS NAME:SIZE…

Word i of version v of file f is the number f << 56 | v << 32 | i. TABLE is a file of 4-byte numbers: the version of each file
that the bucket has for certain, then the operations that each reader has done; this one is reader NUMBER.
Prints one JSON object: how many reads of each kind were right, how many ended in ESTALE; it fails at the first wrong byte.
"""

from __future__ import annotations

import array
import collections
import errno
import json
import mmap
import os
import random
import signal
import sys
from typing import NamedTuple

WORD = 8  # bytes


class File(NamedTuple):
    number: int
    path: str
    size: int  # bytes, whole words


def content(number: int, version: int, first: int, last: int) -> bytes:
    """The bytes of the words from first to last."""
    base = number << 56 | version << 32
    words = array.array("Q", range(base + first, base + last))
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()


class Table:
    """Numbers that processes share, each written by one of them."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as stream:
            self._mapping = mmap.mmap(stream.fileno(), 0)

    def get(self, number: int) -> int:
        return int.from_bytes(self._mapping[4 * number : 4 * number + 4], "little")

    def set(self, number: int, value: int) -> None:
        self._mapping[4 * number : 4 * number + 4] = value.to_bytes(4, "little")


class Wrong(Exception):
    """Bytes that no version has there, or of a version that is too old, or of two versions."""


class Opened:
    """A descriptor, which stands for one version."""

    def __init__(self, file: File, table: Table) -> None:
        self.file = file
        self.least = table.get(file.number)
        self.version = -1  # not known yet
        self.descriptor = os.open(file.path, os.O_RDONLY)

    def read(self, start: int, size: int) -> None:
        """Reads and judges. Offsets are those of words. A read that meets a failure gives what lies before it first."""
        expected, data = min(size, self.file.size - start), b""
        while len(data) < expected and (more := os.pread(self.descriptor, size - len(data), start + len(data))):
            data += more
        self.judge(start, data, expected)

    def judge(self, start: int, data: bytes, expected: int) -> None:
        if len(data) != expected:
            raise Wrong(f"{self.file.path}: {len(data)} instead of {expected} bytes at {start}")
        version = int.from_bytes(data[:WORD], "big") >> 32 & 0xFFFFFF
        if self.version < 0:
            self.version = version
        if version != self.version or version < self.least:
            raise Wrong(f"{self.file.path}: version {version} at {start}; {self.version} before, {self.least} at least")
        words = start // WORD
        if data != content(self.file.number, version, words, words + -(-len(data) // WORD))[: len(data)]:
            raise Wrong(f"{self.file.path}: wrong bytes of version {version} at {start}")

    def close(self) -> None:
        os.close(self.descriptor)


class Reader:
    def __init__(self, files: list[File], table: Table, number: int, order: random.Random) -> None:
        self.files = files
        self.table = table
        self.number = number
        self.order = order
        self.counts: collections.Counter[str] = collections.Counter()
        self.held: list[Opened] = []

    def run(self, operations: int) -> None:
        ways = (self.whole, self.hold, self.sequential, self.at_random, self.read_held, self.mapped)
        for done in range(operations):
            way = ways[done % len(ways)]
            try:
                way(self.order.choice(self.files))
                self.counts[way.__name__] += 1
            except OSError as failure:
                if failure.errno != errno.ESTALE:
                    raise
                self.counts["stale"] += 1
            self.table.set(len(self.files) + self.number, done + 1)
        for held in self.held:
            held.close()

    def opened(self, file: File) -> Opened:
        opened = Opened(file, self.table)
        if self.order.random() < 0.5:  # else all is soon read without a request to the daemon
            os.posix_fadvise(opened.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return opened

    def word(self, file: File) -> int:
        """Where some word begins."""
        return self.order.randrange(file.size // WORD) * WORD

    def whole(self, file: File) -> None:
        opened = self.opened(file)
        try:
            opened.read(0, file.size + 1)
        finally:
            opened.close()

    def sequential(self, file: File) -> None:
        opened = self.opened(file)
        step = self.order.choice([4096, 65_536, 1 << 20])
        first = self.word(file)
        try:
            for start in range(first, min(file.size, first + 8 * step), step):
                opened.read(start, step)
        finally:
            opened.close()

    def at_random(self, file: File) -> None:
        opened = self.opened(file)
        try:
            for _ in range(4):
                opened.read(self.word(file), self.order.randrange(WORD, 200_000))
        finally:
            opened.close()

    def hold(self, file: File) -> None:
        if len(self.held) == 4:
            self.held.pop(0).close()
        self.held.append(self.opened(file))

    def read_held(self, _: File) -> None:
        for held in self.held:
            held.read(self.word(held.file), 50_000)

    def mapped(self, file: File) -> None:
        """In a child: a version that goes away under a mapping is SIGBUS."""
        opened = self.opened(file)
        seed = self.order.random()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            os._exit(self._map(opened, random.Random(seed)))
        opened.close()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS:
            raise OSError(errno.ESTALE, "gone under the mapping")
        if status != 0:
            raise Wrong(f"{file.path}: a reader of a mapping ended with status {status}")

    def _map(self, opened: Opened, order: random.Random) -> int:
        try:
            size = opened.file.size
            with mmap.mmap(opened.descriptor, size, prot=mmap.PROT_READ) as mapping:
                for _ in range(4):
                    start = order.randrange(size // WORD) * WORD
                    piece = mapping[start : start + 100_000]
                    opened.judge(start, piece, min(100_000, size - start))
        except BaseException as failure:
            print(failure, file=sys.stderr)
            return 1
        return 0


def main() -> None:
    mount, table, number, seed, operations, *described = sys.argv[1:]
    files: list[File] = []
    for text in described:
        name, size = text.split(":")
        files.append(File(len(files), f"{mount}/{name}", int(size)))
    reader = Reader(files, Table(table), int(number), random.Random(seed))
    reader.run(int(operations))
    print(json.dumps(reader.counts))


if __name__ == "__main__":
    main()
