"""A program that reads one file of a mount over and over, until its stdin ends, and fails at the first wrong byte.

usage: passthrough_reader.py open|keep|map PATH SIZE
open: opened anew each time; keep: opened once; map: mapped anew each time. What the kernel keeps is dropped in between.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading

BLOCK = 4096
CHUNK = 256 << 10


def check(data: bytes, name: str, begin: int) -> None:
    """The bytes of tests.mount.keeper_reader.content(), by their blocks' first bytes."""
    for at in range(0, len(data), BLOCK):
        wanted = f"{name} {(begin + at) // BLOCK} ".encode()[: len(data) - at]
        if data[at : at + len(wanted)] != wanted:
            raise ValueError(f"{name} at {begin + at}: {data[at : at + 40]!r}")


def read(descriptor: int, name: str, size: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    for begin in range(0, size, CHUNK):
        data = os.pread(descriptor, CHUNK, begin)
        if len(data) != min(CHUNK, size - begin):
            raise ValueError(f"{name}: {len(data)} bytes at {begin}")
        check(data, name, begin)


def read_mapped(descriptor: int, name: str, size: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as view:
        for begin in range(0, size, CHUNK):
            check(view[begin : min(size, begin + CHUNK)], name, begin)


def main(how: str, path: str, length: str) -> None:
    name, size = os.path.basename(path), int(length)
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    kept = os.open(path, os.O_RDONLY) if how == "keep" else -1
    while not ended.is_set():
        descriptor = kept if kept >= 0 else os.open(path, os.O_RDONLY)
        (read_mapped if how == "map" else read)(descriptor, name, size)
        if descriptor != kept:
            os.close(descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
