"""Reads files of a mount in several threads, as a program of its own: the threads of a test serve the bucket.

Arguments: the mount, the number of threads, the size of each file. Paths come on stdin, one in a line. Each file must hold its
own name, repeated.
At the end one JSON object: seconds, bytes, errors by errno, names of wrong files, files done in each second.
"""

from __future__ import annotations

import errno
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path


def content(name: str, size: int) -> bytes:
    """What a file of that name holds."""
    stamp = f"{name}\n".encode()
    return (stamp * (size // len(stamp) + 1))[:size]


def main(mount: Path, threads: int, size: int) -> None:
    names = iter(sys.stdin.read().split("\n"))
    lock = threading.Lock()
    errors: Counter[str] = Counter()
    wrong: list[str] = []
    done: Counter[int] = Counter()
    begin = time.monotonic()

    def read() -> None:
        while True:
            with lock:
                name = next(names, "")
            if not name:
                return
            try:
                data = (mount / name).read_bytes()
            except OSError as failure:
                with lock:
                    errors[errno.errorcode.get(failure.errno or 0, "?")] += 1
                continue
            with lock:
                done[int(time.monotonic() - begin)] += 1
                if data != content(name, size):
                    wrong.append(name)

    workers = [threading.Thread(target=read) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - begin
    json.dump(
        {"seconds": seconds, "errors": errors, "wrong": wrong, "done": [done[n] for n in range(int(seconds) + 1)]}, sys.stdout
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
