"""Phases of reading below a folder, each bounded in time: a walk, small files, the same again, one large file, parts of it."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

_NAMES = 100_000  # of the walk, at most
_SMALL = 1 << 20  # bytes: up to this a file is read whole
_FILES = 4000  # small ones, at most
_LARGE = 4 << 30  # bytes of the large file, at most
_PIECE = 1 << 20
_PART = 64 << 10
_SEED = 1


class Phase(NamedTuple):
    """What was measured in one phase."""

    name: str
    unit: str  # of done: names, files, reads
    done: int
    bytes: int
    seconds: float
    p50: float  # seconds of one, 0 where ones are not told apart
    p99: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes/s."""
        return self.bytes / self.seconds if self.seconds else 0.0


class Found(NamedTuple):
    """A file of the walk."""

    path: str
    size: int


def phases(folder: str, readers: int, seconds: float) -> Iterator[Phase]:
    """Each as soon as it is done; so many threads read, so long at most. What the folder has decides which there are."""
    files: list[Found] = []
    yield _walk(folder, seconds, files)
    small = [each for each in files if 0 < each.size <= _SMALL]
    random.Random(_SEED).shuffle(small)
    small = small[:_FILES]
    if small:
        _forget(small)
        first = _many("small files, cold", "files", [partial(_whole, each) for each in small], readers, seconds)
        yield first
        again = small[: first.done]
        yield _many("small files, again", "files", [partial(_whole, each) for each in again], readers, seconds)
    large = max(files, key=lambda each: each.size, default=Found("", 0))
    if large.size > _SMALL:
        _forget([large])
        yield _sequential(large, seconds)
        _forget([large])
        places = random.Random(_SEED).choices(range(max(1, large.size // _PART)), k=100_000)
        reads = [partial(_part, large.path, place * _PART) for place in places]
        yield _many("random 64 KiB", "reads", reads, readers, seconds)


def _walk(folder: str, seconds: float, files: list[Found]) -> Phase:
    count, folders = 0, [folder]
    begin = time.monotonic()
    end = begin + seconds
    while folders and count < _NAMES and time.monotonic() < end:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    files.append(Found(entry.path, entry.stat(follow_symlinks=False).st_size))
                if count >= _NAMES or time.monotonic() > end:
                    break
    return Phase("walk and stat", "names", count, 0, time.monotonic() - begin, 0.0, 0.0)


def _many(name: str, unit: str, work: Sequence[Callable[[], int]], readers: int, seconds: float) -> Phase:
    """Each piece of work gives the bytes that it has read."""
    end = time.monotonic() + seconds
    shared = iter(work)

    def reader() -> list[tuple[float, int]]:
        done = []
        for piece in shared:  # next() of a list's iterator is atomic
            begin = time.monotonic()
            if begin > end:
                break
            size = piece()
            done.append((time.monotonic() - begin, size))
        return done

    begin = time.monotonic()
    with ThreadPoolExecutor(readers) as pool:
        done = list(itertools.chain.from_iterable(job.result() for job in [pool.submit(reader) for _ in range(readers)]))
    took = time.monotonic() - begin
    times = sorted(each for each, _ in done)
    p50, p99 = (statistics.median(times), times[int(len(times) * 0.99)]) if times else (0.0, 0.0)
    return Phase(name, unit, len(done), sum(size for _, size in done), took, p50, p99)


def _sequential(large: Found, seconds: float) -> Phase:
    begin = time.monotonic()
    size = 0
    with open(large.path, "rb", buffering=0) as file:
        while size < _LARGE and time.monotonic() < begin + seconds and (piece := file.read(_PIECE)):
            size += len(piece)
    return Phase("one large file", "reads", -(-size // _PIECE), size, time.monotonic() - begin, 0.0, 0.0)


def _whole(each: Found) -> int:
    with open(each.path, "rb", buffering=0) as file:
        return len(file.read())


def _part(path: str, offset: int) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return len(os.pread(descriptor, _PART, offset))
    finally:
        os.close(descriptor)


def _forget(files: Sequence[Found]) -> None:
    """Takes them out of the kernel's page cache, so that what is called cold is."""
    for each in files:
        descriptor = os.open(each.path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
