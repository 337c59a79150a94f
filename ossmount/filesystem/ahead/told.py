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


class ToldList:
    """One list. Implements targets.Source."""

    rank = 0
    probes = PROBES

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._waiting: deque[tuple[int, Target]] = deque()  # in order, with their numbers
        self._numbers: dict[int, int] = {}  # node: its last number, of all that are waiting or out
        self._out: dict[int, tuple[int, Target]] = {}  # node: fetched or being fetched, and not known to be read
        self._stored: deque[tuple[int, Target]] = deque()  # with their numbers, about in order
        self._stored_bytes = 0
        self._told = 0
        self._reached = -1
        self.fetched = 0
        self.left_out = 0  # read before their turn, kept already, or failed
        self.ended = False  # no more paths will come

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

    def add(self, targets: Sequence[Target]) -> None:
        """More files, behind those told before."""
        for target in targets:
            self._numbers[target.node] = self._told
            self._waiting.append((self._told, target))
            self._told += 1

    def read(self, node: int) -> None:
        """A reader has begun a small file, of this list or not."""
        number = self._numbers.pop(node, None)
        if number is None:
            return
        self._out.pop(node, None)
        self._reached = max(self._reached, number)
        while self._stored and self._stored[0][0] <= self._reached - SLACK:
            stored_number, target = self._stored.popleft()
            self._stored_bytes -= target.version.size
            if self._numbers.get(target.node) == stored_number:
                del self._numbers[target.node]
        # Readers are ahead of us: what they have left behind comes too late.
        while self._waiting and self._waiting[0][0] < self._reached - SLACK:
            self._drop_first()

    def _drop_first(self) -> None:
        number, target = self._waiting.popleft()
        if self._numbers.get(target.node) == number:
            del self._numbers[target.node]
        self.left_out += 1

    def next(self) -> Target | None:
        while self._waiting:
            number, target = self._waiting[0]
            # a number that is gone or another: it was read meanwhile, or comes once more later
            if self._numbers.get(target.node) != number or target.node in self._kept:
                self._drop_first()
                continue
            self._waiting.popleft()
            self._out[target.node] = (number, target)
            return target
        return None

    def took(self, target: Target, stored: bool) -> None:
        self.fetched += 1
        entry = self._out.get(target.node)
        if stored and entry is not None:
            # Not seen being read; its number stays known in case the kernel drops it and a READ comes.
            self._stored.append((entry[0], target))
            self._stored_bytes += target.version.size
            del self._out[target.node]

    def missed(self, target: Target) -> None:
        self.left_out += 1
        self._out.pop(target.node, None)
        self._numbers.pop(target.node, None)

    def wants(self, target: Target) -> bool:
        return target.node in self._out

    def returned(self, target: Target) -> None:
        self._out.pop(target.node, None)
        self._numbers.pop(target.node, None)

    def stored_unread(self) -> int:
        return self._stored_bytes

    def passed(self) -> list[Target]:
        """Files that are staged and far behind the readers: they read something else. Forgotten here."""
        found: list[Target] = []
        for node, (number, target) in list(self._out.items()):
            if number >= self._reached - SLACK:
                break
            del self._out[node]
            self._numbers.pop(node, None)
            found.append(target)
        return found

    def abandon(self) -> list[Target]:
        """The client is gone: forgets everything, and tells what lies in memory for it."""
        self.ended = True
        self.left_out += len(self._waiting)
        self._waiting.clear()
        self._numbers.clear()
        self._stored.clear()
        self._stored_bytes = 0
        out = [target for _, target in self._out.values()]
        self._out.clear()
        return out
