"""One reader of the soak: `python -m benchmarks.soak.reader MOUNT NUMBER READERS`.

It lists and reads its share of all folders, and prints "known". From then on each turn is one of the things that training does:
walk a folder, read files whole, read pieces of large ones, map them, look for names that are not there, hold many files open.
Every byte is compared with the rest of what came with it. It ends at SIGTERM and prints what it did as JSON.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import mmap
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable

from benchmarks.soak.bucket import is_whole

#: What an object that is replaced or deleted while it is read may give; SIGBUS of a mapping is avoided by reading copies.
_EXPECTED = frozenset({errno.ENOENT, errno.ESTALE})
_OPEN = 200  # files held open at once


class Reader:
    """Does one thing after the other until stop() was called."""

    def __init__(self, root: str, number: int, readers: int) -> None:
        self._root = root
        self._share = slice(number, None, readers)
        self._random = random.Random(number)
        self._going = True
        self.counts: Counter[str] = Counter()
        self._turns: tuple[Callable[[], None], ...] = (
            self._walk,
            self._read_whole,
            self._read_pieces,
            self._map,
            self._miss,
            self._hold,
        )

    def stop(self, *_: object) -> None:
        self._going = False

    def run(self) -> None:
        self._folders = sorted(name for name in os.listdir(self._root) if name.startswith("f"))
        for folder in self._folders[self._share]:
            if self._going:
                self._try(functools.partial(self._know, os.path.join(self._root, folder)))
        print("known", flush=True)
        while self._going:
            self._try(self._random.choice(self._turns))

    def _try(self, turn: Callable[[], None]) -> None:
        try:
            turn()
        except OSError as failure:
            kind = "replaced" if failure.errno in _EXPECTED else "errors"
            self.counts[kind] += 1
            if kind == "errors":
                print(f"{turn}: {failure}", file=sys.stderr, flush=True)

    def _know(self, folder: str) -> None:
        for name in os.listdir(folder):
            self._try(functools.partial(self._read, os.path.join(folder, name)))

    def _read(self, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            self._check(file.read(), path)
        self.counts["files"] += 1

    def _check(self, data: bytes, what: str) -> None:
        self.counts["bytes"] += len(data)
        if not is_whole(data):
            self.counts["wrong"] += 1
            print(f"{what}: bytes of several versions", file=sys.stderr, flush=True)

    def _some_files(self, most: int) -> list[str]:
        folder = os.path.join(self._root, self._random.choice(self._folders))
        names = os.listdir(folder)
        return [os.path.join(folder, name) for name in self._random.sample(names, min(most, len(names)))]

    def _large(self) -> str:
        folder = os.path.join(self._root, "large")
        return os.path.join(folder, self._random.choice(os.listdir(folder)))

    def _walk(self) -> None:
        for name in self._random.sample(self._folders, min(20, len(self._folders))):
            for entry in os.scandir(os.path.join(self._root, name)):
                with contextlib.suppress(FileNotFoundError):
                    entry.stat()
                self.counts["stats"] += 1

    def _read_whole(self) -> None:
        for path in self._some_files(20):
            self._read(path)

    def _read_pieces(self) -> None:
        path = self._large()
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            start = self._random.randrange(size) // 16 * 16
            for offset in range(start, min(size, start + (8 << 20)), 1 << 20):
                self._check(os.pread(file.fileno(), 1 << 20, offset), path)
            self.counts["pieces"] += 1

    def _map(self) -> None:
        for path in self._some_files(1):
            file = os.open(path, os.O_RDONLY)
            try:
                self._check(os.pread(file, 1 << 20, 0), path)  # and so the mapping finds its pages
                size = os.fstat(file).st_size  # mmap() takes a failure of its own fstat(2), ESTALE, for a length of 0: EINVAL
                with mmap.mmap(file, size, prot=mmap.PROT_READ) as view:
                    self._check(view[:], path)
            finally:
                os.close(file)
            self.counts["mapped"] += 1

    def _miss(self) -> None:
        for number in range(20):
            missing = os.path.join(
                self._root, self._random.choice(self._folders), f"no-{self._random.randrange(10**6)}-{number}"
            )
            self.counts["misses"] += not os.path.exists(missing)

    def _hold(self) -> None:
        held: list[int] = []
        try:
            while len(held) < _OPEN:
                for path in self._some_files(50):
                    held.append(os.open(path, os.O_RDONLY))
                    self._check(os.read(held[-1], 512), path)
        finally:
            for file in held:
                os.close(file)
        self.counts["held"] += len(held)


def main() -> None:
    reader = Reader(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    signal.signal(signal.SIGTERM, reader.stop)
    reader.run()
    print(json.dumps(reader.counts), flush=True)


if __name__ == "__main__":
    main()
