"""What lies in a cache directory: counting it and dropping the least recently used. Memory does not grow with the files."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ossmount.data.disk import pins
from ossmount.data.disk.copies import is_read
from ossmount.data.disk.layout import DATA_SUFFIX, PIN_SUFFIX, SUFFIXES

_FILE = re.compile(r"([0-9a-f]{40})(" + "|".join(map(re.escape, (*SUFFIXES, PIN_SUFFIX))) + ")")
MOST = 50_000  # entries that one eviction drops at most; 10 MB of memory


class Entry(NamedTuple):
    """One cached object. Sorts by last use."""

    used: int  # nanoseconds
    size: int  # bytes of disk that it takes
    stem: str  # path without suffix
    pinned: int = 0  # bytes of the object, when it is not to be evicted

    @property
    def name(self) -> bytes:
        return bytes.fromhex(os.path.basename(self.stem))


class Census(NamedTuple):
    """What was counted, and what was dropped of it."""

    entries: int
    size: int  # bytes of disk
    dropped: int = 0
    freed: int = 0  # bytes
    pinned: int = 0  # bytes of disk that the pinned ones take, once all of them is there


def entries(root: str, rest: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """All of them, one folder at a time; `rest` is called after each folder. What vanishes meanwhile is left out."""
    with contextlib.suppress(FileNotFoundError):  # nothing was ever cached
        for folder in sorted(os.listdir(root)):
            if len(folder) == 2:
                yield from _folder(f"{root}/{folder}")
                rest()


def names(root: str, rest: Callable[[], object]) -> Iterator[bytes]:
    """Of all entries, without looking at them; `rest` is called after each folder. Raises OSError."""
    for folder in os.listdir(root):
        if len(folder) == 2:
            for file in os.listdir(f"{root}/{folder}"):
                match = _FILE.fullmatch(file)
                if match is not None:
                    yield bytes.fromhex(match[1])
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
                used, size, _, pinned = found.get(stem, (0, 0, "", 0))
                if match[2] == PIN_SUFFIX:
                    pinned = max(1, stat.st_size)
                found[stem] = Entry(max(used, stat.st_mtime_ns), size + stat.st_blocks * 512, stem, pinned)
    yield from found.values()


def drop(entry: Entry, *, always: bool = False) -> bool:
    """Removes an entry, unless it is pinned, or was used since it was looked at, or is read without us; whether it did.

    What is read without us would take its place on the disk until its last reader has closed it. always: all the same, and its
    pin as well.
    """
    pin = entry.stem + PIN_SUFFIX
    paths = [entry.stem + suffix for suffix in SUFFIXES]
    if not always:
        if os.path.exists(pin):
            return False
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_mtime_ns > entry.used or (path.endswith(DATA_SUFFIX) and is_read(path)):
                    return False
    for path in (pin, *paths) if always else paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return True


def evict(root: str, excess: Callable[[int], int], rest: Callable[[], None] = lambda: None) -> Census:
    """Counts, then drops the least recently used entries that are not pinned until so many bytes are free as `excess`, given
    the bytes that are used, says. Raises OSError."""
    oldest: list[tuple[int, Entry]] = []  # a heap, the most recently used of them first
    count = size = pinned = 0
    for entry in entries(root, rest):
        count += 1
        size += entry.size
        if entry.pinned:
            pinned += pins.cost(entry.pinned)
            continue
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
    return Census(count - dropped, size - freed, dropped, freed, pinned)
