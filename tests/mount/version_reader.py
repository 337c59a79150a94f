"""A reader process for test_versions: reads files again and again until its standard input ends, and judges each read.

Run as a program: version_reader.py PROGRESS PATH… ; a byte is added to PROGRESS for each round. Every file holds one 8-byte
word over and over, another for each version. Prints one JSON object: passes through a file, by one open and reads or by a
mapping (mapped_…), that were whole, that ended in ESTALE (a mapping: in SIGBUS), that mixed versions; other errors.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import select
import signal
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


_FIRST = 64  # exit code of the first verdict: Python's own ones are below
VERDICTS = ("whole", "mixed", "short", "stale")


def map_all(path: str) -> str:
    """What a mapping of the file shows. In a process of its own: a page that cannot be had is SIGBUS."""
    child = os.fork()
    if not child:
        os._exit(_FIRST + VERDICTS.index(_judge_mapped(path)))
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "stale" if os.WTERMSIG(status) == signal.SIGBUS else f"signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status) - _FIRST
    return VERDICTS[code] if code in range(len(VERDICTS)) else f"the process with the mapping ended with {code + _FIRST}"


def _judge_mapped(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        size = os.fstat(descriptor).st_size  # mmap itself does not look whether fstat() has failed
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as view:
            return judge(view[:])
    except OSError as failure:
        if failure.errno == errno.ESTALE:
            return "stale"
        print(f"mapping {path}: {failure}", file=sys.stderr, flush=True)
        os._exit(1)


def judge(content: bytes) -> str:
    if len(content) % WORD or not content:
        return "short"
    return "whole" if content == content[:WORD] * (len(content) // WORD) else "mixed"


def main(progress: str, paths: Sequence[str]) -> None:
    rounds = os.open(progress, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    counts = {how + verdict: 0 for how in ("", "mapped_") for verdict in VERDICTS}
    errors: list[str] = []
    versions: set[bytes] = set()
    print("reading", flush=True)
    while True:
        for number, path in enumerate(paths):
            verdict = map_all(path)
            if verdict in VERDICTS:
                counts["mapped_" + verdict] += 1
            else:
                errors.append(verdict)
            try:
                # Without timeouts each read(2) costs a request: a large file in 4 KiB pieces would take minutes.
                content = read_all(path, 64 << 10 if number % 2 else 16 << 10)
            except OSError as failure:
                if failure.errno == errno.ESTALE:
                    counts["stale"] += 1
                else:
                    errors.append(str(failure))
                continue
            counts[judge(content)] += 1
            versions.add(content[:WORD])
        os.write(rounds, b".")
        # At least one round is read after the last replacement.
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    print(json.dumps({**counts, "errors": errors[:5], "versions": len(versions)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
