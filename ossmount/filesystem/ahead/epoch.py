"""Epoch mode: readers visit a tree in random order, and what they have not read yet is fetched in the background.

It begins once some dozens of whole small files were read out of their order. The files come from the directories that
readers have been in; where they have been in three directories of one parent, from all that is below that parent. What is in
the kernel's page cache is read without a request, so that nobody sees it being read: each sixteenth file stays in the slab
as a probe, and the share of the probes that were read is taken for the share of everything.
"""

from __future__ import annotations

from collections import deque

from ossmount.errors import OssMountError
from ossmount.filesystem.ahead.targets import Kept, NodeSet, Target, target_of
from ossmount.metadata.interface import ROOT, KnownTree
from ossmount.model import Kind

START = 48  # whole files read out of order
PROBES = 16
SIBLINGS = 3  # directories of one parent that must have been visited
AGAIN = 32  # files read a second time: another epoch has begun
_CHUNK = 64  # nodes asked for at once, 0.3 ms


class Epoch:
    """The unread rest of the trees that readers visit. Implements targets.Source."""

    rank = 2
    probes = PROBES

    def __init__(self, tree: KnownTree, kept: Kept) -> None:
        self._tree = tree
        self._kept = kept
        self.reads = 0  # out of their folder's order, less those in order
        self.passes = 0
        self._begin()

    def _begin(self) -> None:
        """A new pass over everything."""
        self.passes += 1
        self._seen = NodeSet()  # read or fetched in this pass
        self._read = NodeSet()  # seen being read in this pass
        self._again = 0
        self._visited = NodeSet()
        self._siblings: dict[int, set[int]] = {}  # parent: its visited directories, until there are enough of them
        self._queued = NodeSet()
        self._queue: deque[tuple[int, bool]] = deque()  # (directory, with all below it)
        self._deep = NodeSet()
        self._current: tuple[int, bool, bytes] | None = None
        self._ready: deque[Target] = deque()
        self._stored = 0  # bytes
        self._probes_out: set[int] = set()
        self._probes_taken = 0

    @property
    def active(self) -> bool:
        return self.reads >= START

    def read(self, node: int, directory: int, ordered: bool) -> None:
        """A reader has begun a small file."""
        self._probes_out.discard(node)
        if node in self._read:
            self._again += 1
            if self._again >= AGAIN:
                self._begin()
        self._read.add(node)
        self._seen.add(node)
        if ordered:
            self.reads = max(0, self.reads - 1)
        else:
            self.reads = min(2 * START, self.reads + 1)
            self._visit(directory)

    def _visit(self, directory: int) -> None:
        if directory in self._visited:
            return
        self._visited.add(directory)
        self._enqueue(directory, False)
        while directory != ROOT:
            parent = self._tree.parent_of(directory)
            siblings = self._siblings.setdefault(parent, set())
            if len(siblings) < SIBLINGS:
                siblings.add(directory)
            if len(siblings) < SIBLINGS or parent in self._deep:
                return
            self._enqueue(parent, True)
            directory = parent

    def _enqueue(self, directory: int, deep: bool) -> None:
        done = self._deep if deep else self._queued
        if directory in done:
            return
        self._queued.add(directory)
        if deep:
            self._deep.add(directory)
        self._queue.append((directory, deep))

    def fetched(self, node: int) -> None:
        """Another source has it fetched."""
        self._seen.add(node)

    def next(self) -> Target | None:
        if not self.active:
            return None
        while True:
            while self._ready:
                target = self._ready.popleft()
                if target.node not in self._seen and target.node not in self._kept:
                    self._seen.add(target.node)
                    return target
            if not self._load():
                return None

    def _load(self) -> bool:
        """The next nodes; False when there are no more directories (for now)."""
        if self._current is None:
            if not self._queue:
                return False
            self._current = (*self._queue.popleft(), b"")
        directory, deep, start = self._current
        try:
            nodes, following = self._tree.known(directory, start, _CHUNK)
        except OssMountError:  # the directory is gone
            self._current = None
            return True
        self._current = None if following is None else (directory, deep, following)
        for node in nodes:
            if node.kind is Kind.DIRECTORY:
                if deep:
                    self._enqueue(node.id, True)
            elif (target := target_of(node)) is not None and node.id not in self._seen:
                self._ready.append(target)
        return True

    def wants(self, target: Target) -> bool:
        return target.node not in self._read

    def stored_unread(self) -> int:
        taken = self._probes_taken
        if not taken:
            return self._stored
        return self._stored * len(self._probes_out) // taken

    def took(self, target: Target, stored: bool) -> None:
        if stored:
            self._stored += target.version.size
        else:
            self._probes_taken += 1
            self._probes_out.add(target.node)

    def missed(self, target: Target) -> None:
        """It stays seen: each file once."""

    def returned(self, target: Target) -> None:
        if target.node in self._probes_out:
            self._probes_out.discard(target.node)
            self._probes_taken -= 1
