"""Which blocks of the slab are free: a segregated-fit allocator that never fails for fragmentation.

Free runs of blocks are kept in bins by the power of two of their length, joined with their neighbours as they are given
back. A request is cut from one run where one is long enough, else put together from several: bodies are received with
scatter I/O and replies are sent with gather I/O, so that memory need not be in one piece. "Enough blocks are free" is
therefore all that the cache has to know, and the slab's size is a hard limit without reserve.
"""

from __future__ import annotations

BLOCK = 4096  # bytes; a page of the kernel, the unit of validity

Run = tuple[int, int]  # (first block, number of blocks)


def blocks_of(size: int) -> int:
    """How many blocks `size` bytes take."""
    return -(-size // BLOCK)


def aligned(start: int, end: int, size: int) -> tuple[int, int]:
    """The range of an object of `size` bytes in whole blocks, cut at the end of the object."""
    return start // BLOCK * BLOCK, min(-(-end // BLOCK) * BLOCK, size)


class Blocks:
    """The free blocks among `count`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = count
        self._length: dict[int, int] = {}  # first block of a free run: its length
        self._first: dict[int, int] = {}  # block behind a free run: its first block
        self._bins: list[dict[int, None]] = [{} for _ in range(count.bit_length() + 1)]
        self._filled = 0  # bit i: bin i has runs; those are of 2**(i-1) to 2**i - 1 blocks
        if count:
            self._insert(0, count)

    def take(self, count: int) -> list[Run]:
        """`count` blocks, in one run if there is one; raises ValueError when fewer are free."""
        if not 0 < count <= self.free:
            raise ValueError(f"{count} blocks of {self.free} free ones")
        self.free -= count
        taken: list[Run] = []
        while count:
            start, length = self._choose(count)
            used = min(length, count)
            self._remove(start, length)
            if used < length:
                self._insert(start + used, length - used)
            taken.append((start, used))
            count -= used
        return taken

    def give(self, start: int, count: int) -> None:
        """Takes a run back."""
        self.free += count
        behind = self._length.get(start + count)
        if behind is not None:
            self._remove(start + count, behind)
            count += behind
        before = self._first.get(start)
        if before is not None:
            length = start - before
            self._remove(before, length)
            start, count = before, count + length
        self._insert(start, count)

    def runs(self) -> list[Run]:
        """All free runs, in order."""
        return sorted(self._length.items())

    def _choose(self, count: int) -> Run:
        sure = (count - 1).bit_length() + 1  # the first bin in which every run is long enough
        if fits := self._filled >> sure:
            start = next(iter(self._bins[sure + (fits & -fits).bit_length() - 1]))
            return start, self._length[start]
        for start in self._bins[count.bit_length()] if count.bit_length() < len(self._bins) else ():
            if self._length[start] >= count:
                return start, self._length[start]
        start = next(iter(self._bins[self._filled.bit_length() - 1]))
        return start, self._length[start]

    def _insert(self, start: int, length: int) -> None:
        number = length.bit_length()
        self._length[start] = length
        self._first[start + length] = start
        self._bins[number][start] = None
        self._filled |= 1 << number

    def _remove(self, start: int, length: int) -> None:
        number = length.bit_length()
        del self._length[start], self._first[start + length], self._bins[number][start]
        if not self._bins[number]:
            self._filled &= ~(1 << number)
