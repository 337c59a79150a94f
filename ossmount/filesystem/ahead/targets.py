"""What is fetched ahead, and sets of node ids."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ossmount.model import Kind, Node, Version

LOST = 32  # files that the kernel should have kept and asks for: what it keeps is not known any more
LARGEST = 1 << 20  # bytes; a larger file is read in windows, by the readahead inside it


class Target(NamedTuple):
    """One file: the node that the kernel knows it by, and the version that the node stands for."""

    node: int
    version: Version


def target_of(node: Node) -> Target | None:
    """None for what is no small file."""
    if node.kind is not Kind.FILE or not 0 < node.size <= LARGEST:
        return None
    return Target(node.id, Version(node.key, node.etag, node.size))


class Source(Protocol):
    """An order of files. The scheduler asks it for the next one as long as it is within its distance."""

    rank: int  # the lower, the sooner it is served
    probes: int  # each so-manieth file stays in the slab, where its READ is seen; 1: all of them

    def next(self) -> Target | None:
        """The next file to be fetched, None when there is nothing (for now)."""
        ...

    def wants(self, target: Target) -> bool:
        """Whether what next() gave is still of use: nobody has read it meanwhile."""
        ...

    def stored_unread(self) -> int:
        """Bytes in the kernel's page cache that have probably not been read yet."""
        ...

    def took(self, target: Target, stored: bool) -> None:
        """What next() gave was stored in the kernel's page cache, or is staged in the slab."""
        ...

    def missed(self, target: Target) -> None:
        """What next() gave was neither: it failed, or was there already."""
        ...

    def returned(self, target: Target) -> None:
        """What was staged has been given back unread."""
        ...


class NodeSet:
    """A set of node ids as a bitmap in pieces: ids are given out one after the other, so that a million take some 150 KB."""

    _BITS = 12

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}

    def add(self, node: int) -> None:
        piece = self._pieces.get(node >> self._BITS)
        if piece is None:
            piece = self._pieces[node >> self._BITS] = bytearray(1 << self._BITS - 3)
        piece[node >> 3 & (1 << self._BITS - 3) - 1] |= 1 << (node & 7)

    def __contains__(self, node: int) -> bool:
        piece = self._pieces.get(node >> self._BITS)
        return piece is not None and bool(piece[node >> 3 & (1 << self._BITS - 3) - 1] >> (node & 7) & 1)


class Kept:
    """Which files the kernel's page cache probably still holds: the last that were read or stored, by bytes.

    One that is held is read without a READ. So READs of files that should be held tell that the page cache was emptied.
    """

    def __init__(self, size: int) -> None:
        self.size = size  # bytes; may change
        self._young, self._old = NodeSet(), NodeSet()
        self._bytes = 0  # in _young
        self._lost = 0  # files that were read though they should be held, less those that should not

    def read(self, node: int, size: int) -> None:
        """There was a READ of the file."""
        if node not in self:
            self._lost = max(0, self._lost - 1)
        elif self._lost < LOST:
            self._lost += 1
            return
        else:
            self._young, self._old = NodeSet(), NodeSet()
            self._bytes = self._lost = 0
        self.add(node, size)

    def add(self, node: int, size: int) -> None:
        if node in self._young:
            return
        self._young.add(node)
        self._bytes += size
        if self._bytes * 2 > self.size:
            self._young, self._old = NodeSet(), self._young
            self._bytes = 0

    def __contains__(self, node: int) -> bool:
        return node in self._young or node in self._old
