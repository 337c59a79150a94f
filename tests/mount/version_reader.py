"""A reader process for test_versions: reads files again and again until its standard input ends, and judges each read.

Run as a program: version_reader.py PATH… ; every file holds one 8-byte word over and over, another for each version.
Prints one JSON object: reads that were whole, reads that ended in ESTALE, reads that mixed versions, other errors.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
from collections.abc import Sequence

WORD = 8


def read_all(path: str, chunk: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        pieces = []
        while piece := os.read(descriptor, chunk):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def judge(content: bytes) -> str:
    if len(content) % WORD or not content:
        return "short"
    return "whole" if content == content[:WORD] * (len(content) // WORD) else "mixed"


def main(paths: Sequence[str]) -> None:
    counts = {"whole": 0, "stale": 0, "mixed": 0, "short": 0}
    errors: list[str] = []
    versions: set[bytes] = set()
    print("reading", flush=True)
    while True:
        for number, path in enumerate(paths):
            try:
                # Without timeouts each read(2) costs a request: a large file in 4 KiB pieces would take minutes.
                content = read_all(path, 64 << 10 if number % 2 else 4096)
            except OSError as failure:
                if failure.errno == errno.ESTALE:
                    counts["stale"] += 1
                else:
                    errors.append(str(failure))
                continue
            counts[judge(content)] += 1
            versions.add(content[:WORD])
        # At least one round is read after the last replacement.
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    print(json.dumps({**counts, "errors": errors[:5], "versions": len(versions)}))


if __name__ == "__main__":
    main(sys.argv[1:])
