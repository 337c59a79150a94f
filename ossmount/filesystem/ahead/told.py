"""A told order: paths in the order in which they will be read, from one client.

Kept a bounded distance ahead of the readers. How far those are is seen from the READs of this list's files: a file that is
staged, a file that was not there yet, and each eighth, which is never stored in the kernel for that purpose. Whatever stands
before the foremost of them counts as read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ossmount.filesystem.ahead.targets import Kept, Target

PROBES = 8
BACKLOG = 4096  # files that are known and wait; a client that feeds more has to wait
SLACK = 64  # files by which the READs of several readers may be out of the order
RECENT = 256  # the last of them that were read; readers that are slower than others are among them
STRANGERS = 256  # files that are not in the list and were read since one that is: its readers are gone


class ToldList:
    """One list. Implements targets.Source."""

    rank = 0
    probes = PROBES

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._waiting: deque[tuple[int, Target]] = deque()  # in order, with their numbers
        self._numbers: dict[int, int] = {}  # node: its last number, of all that are waiting or out
        self._out: dict[int, tuple[int, Target]] = {}  # node: being fetched
        self._staged: dict[int, tuple[int, Target]] = {}  # node: in memory, and not read
        self._stored: deque[tuple[int, Target]] = deque()  # with their numbers, about in order
        self._stored_bytes = 0
        self._told = 0
        self._reached = -1  # the foremost number that was read
        self._frontier = -1  # the last one that was given out
        self._recent: deque[int] = deque(maxlen=RECENT)  # numbers
        self.fetched = 0
        self.left_out = 0  # read before their turn, kept already, or failed
        self.ended = False  # no more paths will come
        self._strangers = 0

    def __repr__(self) -> str:
        return f"<ToldList {self._told} told, {self.fetched} fetched, {len(self._waiting)} waiting>"

    @property
    def room(self) -> int:
        """Files that may be told now."""
        return max(0, BACKLOG - len(self._waiting))

    @property
    def done(self) -> bool:
        """Everything that was told has been fetched, or left out."""
        return self.ended and not self._waiting and not self._fetching

    @property
    def _fetching(self) -> bool:
        return self._told != self.fetched + self.left_out + len(self._waiting)

    @property
    def told(self) -> int:
        return self._told

    @property
    def settled(self) -> int:
        """Files at the beginning of the list that were fetched or left out, all of them."""
        waiting = self._waiting[0][0] if self._waiting else self._told
        return min(waiting, min((number for number, _ in self._out.values()), default=waiting))

    def add(self, targets: Sequence[Target]) -> None:
        """More files, behind those told before."""
        for target in targets:
            self._numbers[target.node] = self._told
            self._waiting.append((self._told, target))
            self._told += 1

    @property
    def awaited(self) -> bool:
        """Whether readers are still expected for what was fetched."""
        return bool(self._out or self._staged) and self._strangers < STRANGERS

    def read(self, node: int) -> bool:
        """A reader has begun a small file: whether it is one of this list."""
        number = self._numbers.pop(node, None)
        if number is None:
            self._strangers += 1
            return False
        self._strangers = 0
        self._out.pop(node, None)
        self._staged.pop(node, None)
        self._recent.append(number)
        self._reached = max(self._reached, number)
        while self._stored and self._stored[0][0] <= self._reached - SLACK:
            stored_number, target = self._stored.popleft()
            self._stored_bytes -= target.version.size
            if self._numbers.get(target.node) == stored_number:
                del self._numbers[target.node]
        return True

    def _drop_first(self) -> None:
        number, target = self._waiting.popleft()
        if self._numbers.get(target.node) == number:
            del self._numbers[target.node]
        self.left_out += 1

    def next(self) -> Target | None:
        hindmost = -1
        while self._waiting:
            number, target = self._waiting[0]
            # a number that is gone or another: it was read meanwhile, or comes once more later
            if self._numbers.get(target.node) != number or target.node in self._kept:
                self._drop_first()
                continue
            if number < self._reached - SLACK:  # what all readers have left behind comes too late
                hindmost = hindmost if hindmost >= 0 else min(self._recent)
                if number < hindmost - SLACK:
                    self._drop_first()
                    continue
            self._waiting.popleft()
            self._out[target.node] = (number, target)
            self._frontier = number
            return target
        return None

    def took(self, target: Target, stored: bool) -> None:
        self.fetched += 1
        entry = self._out.get(target.node)
        if entry is None:
            return
        del self._out[target.node]
        if stored:
            # Not seen being read; its number stays known in case the kernel drops it and a READ comes.
            self._stored.append((entry[0], target))
            self._stored_bytes += target.version.size
        else:
            self._staged[target.node] = entry

    def missed(self, target: Target) -> None:
        self.left_out += 1
        self._out.pop(target.node, None)
        self._numbers.pop(target.node, None)

    def wants(self, target: Target) -> bool:
        return target.node in self._out

    def returned(self, target: Target) -> None:
        self._staged.pop(target.node, None)
        self._numbers.pop(target.node, None)

    def stored_unread(self) -> int:
        return self._stored_bytes

    def spare(self) -> Target | None:
        """A file in memory that the foremost reader has left far behind, to be given back where room is short. Forgotten here.

        Readers drift apart: the workers of a DataLoader are batches apart, eight readers on two busy cores hundreds of files.
        So nothing is spared while more lies ahead of the foremost reader than he has left behind.
        """
        for number, target in self._staged.values():
            if self._reached - SLACK - number > max(0, self._frontier - self._reached):
                self.returned(target)
                return target
            break
        return None

    def abandon(self) -> list[Target]:
        """The client is gone: forgets everything, and tells what lies in memory for it."""
        self.ended = True
        self.left_out += len(self._waiting)
        self._waiting.clear()
        self._numbers.clear()
        self._stored.clear()
        self._stored_bytes = 0
        out = [target for _, target in (*self._out.values(), *self._staged.values())]
        self._out.clear()
        self._staged.clear()
        return out
