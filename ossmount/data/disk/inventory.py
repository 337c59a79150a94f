"""What lies in a cache directory: counting it and dropping the least recently used. Memory does not grow with the files."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ossmount.data.disk.copies import is_read
from ossmount.data.disk.layout import DATA_SUFFIX, SUFFIXES

_FILE = re.compile(r"([0-9a-f]{40})(" + "|".join(map(re.escape, SUFFIXES)) + ")")
MOST = 50_000  # entries that one eviction drops at most; 10 MB of memory


class Entry(NamedTuple):
    """One cached object. Sorts by last use."""

    used: int  # nanoseconds
    size: int  # bytes of disk that it takes
    stem: str  # path without suffix

    @property
    def name(self) -> bytes:
        return bytes.fromhex(os.path.basename(self.stem))


class Census(NamedTuple):
    """What was counted, and what was dropped of it."""

    entries: int
    size: int  # bytes of disk
    dropped: int = 0
    freed: int = 0  # bytes


def entries(root: str, rest: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """All of them, one folder at a time; `rest` is called after each folder. What vanishes meanwhile is left out."""
    with contextlib.suppress(FileNotFoundError):  # nothing was ever cached
        for folder in sorted(os.listdir(root)):
            if len(folder) == 2:
                yield from _folder(f"{root}/{folder}")
                rest()


def _folder(path: str) -> Iterator[Entry]:
    found: dict[str, Entry] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as files:
        for file in files:
            match = _FILE.fullmatch(file.name)
            if match is None:
                continue  # not ours
            stem = f"{path}/{match[1]}"
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat(follow_symlinks=False)
                used, size, _ = found.get(stem, (0, 0, ""))
                found[stem] = Entry(max(used, stat.st_mtime_ns), size + stat.st_blocks * 512, stem)
    yield from found.values()


def drop(entry: Entry, *, always: bool = False) -> bool:
    """Removes an entry, unless it was used since it was looked at, or is read without us; whether it did.

    What is read from such a file would take its place on the disk until its last reader has closed it. always: also then.
    """
    paths = [entry.stem + suffix for suffix in SUFFIXES]
    for path in () if always else paths:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime_ns > entry.used or (path.endswith(DATA_SUFFIX) and is_read(path)):
                return False
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return True


def evict(root: str, excess: Callable[[int], int], rest: Callable[[], None] = lambda: None) -> Census:
    """Counts, then drops the least recently used entries until so many bytes are free as `excess`, given the bytes that are
    used, says. Raises OSError."""
    oldest: list[tuple[int, Entry]] = []  # a heap, the most recently used of them first
    count = size = 0
    for entry in entries(root, rest):
        count += 1
        size += entry.size
        item = (-entry.used, entry)
        if len(oldest) < MOST:
            heapq.heappush(oldest, item)
        elif item > oldest[0]:
            heapq.heapreplace(oldest, item)
    wanted = excess(size)
    dropped = freed = 0
    for _, entry in sorted(oldest, reverse=True):
        if freed >= wanted:
            break
        if drop(entry):
            dropped += 1
            freed += entry.size
    return Census(count - dropped, size - freed, dropped, freed)
