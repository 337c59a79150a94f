"""A program that reads files of a mount, or one large file, over and over, until its stdin ends; then tells what it saw.

usage: keeper_reader.py MOUNTPOINT PAUSE NAME...      PAUSE: seconds between two calls of read(2)
Each block of 4 KiB of a file names the file and itself, so that wrong bytes are noticed wherever they come from. What the
kernel keeps is dropped before each file, so that most of it is asked for again. Its answer is one JSON object: files, bytes,
errors (of the system), wrong (bytes that are not the file's), longest (seconds that one call took).
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time

BLOCK = 4096
CHUNK = 256 << 10


def content(name: str, begin: int, end: int) -> bytes:
    """The bytes of a file from a block's beginning on."""
    blocks = range(begin // BLOCK, -(-end // BLOCK))
    return b"".join(f"{name} {number} ".encode().ljust(BLOCK, b".") for number in blocks)[: end - begin]


class Watch:
    """How long calls take."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.begun = time.monotonic()

    def __enter__(self) -> None:
        self.begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.longest = max(self.longest, time.monotonic() - self.begun)


def read(path: str, name: str, pause: float, watch: Watch, seen: dict[str, int]) -> None:
    with watch:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        with watch:
            size = os.fstat(descriptor).st_size
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for position in range(0, size, CHUNK):
            with watch:
                data = os.pread(descriptor, CHUNK, position)
            if data != content(name, position, min(size, position + CHUNK)):
                seen["wrong"] += 1
            seen["bytes"] += len(data)
            time.sleep(pause)
    finally:
        os.close(descriptor)
    seen["files"] += 1


def main(mountpoint: str, pause: float, names: list[str]) -> None:
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    order, watch = random.Random(os.getpid()), Watch()
    seen = {"files": 0, "bytes": 0, "wrong": 0}
    errors: list[str] = []
    while not ended.is_set():
        order.shuffle(names)
        for name in names:
            if ended.is_set():
                break
            try:
                read(os.path.join(mountpoint, name), name, pause, watch, seen)
            except OSError as failure:
                errors.append(str(failure))
    print(json.dumps({**seen, "errors": errors, "longest": round(watch.longest, 3)}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
