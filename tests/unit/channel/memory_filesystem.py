"""A tree in memory behind the Operations interface, that counts, waits and fails as a test tells it to."""

from __future__ import annotations

import math
import stat
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import trio

from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.errors import InvalidArgument, NoAttribute, NotDirectory, NotFound, StaleNode, Unsupported
from ossmount.filesystem.interface import Attributes, Common, DirectoryEntry, Entry, FilesystemStatistics, ReadDone
from ossmount.model import Soon

T = TypeVar("T")
MTIME_NS = 1_700_000_000_123_456_789

#: A directory (by name), a file (its bytes) or a symlink (its target).
Tree = Mapping[bytes, "Tree | bytes | str"]


def listed(name: bytes, entry: Entry, following: int) -> DirectoryEntry:
    """A name of a directory from what a lookup of it gives."""
    assert entry.attributes is not None
    node, mode, nlink, uid, gid, size, _, mtime_ns = entry.attributes
    common = Common(mode, nlink, uid, gid, entry.entry_valid, entry.attr_valid)
    return DirectoryEntry(name, node, size, mtime_ns, following, common)


class MemoryFilesystem:
    """Node 1 is the root; nodes are numbered as the tree is walked."""

    def __init__(self, tree: Tree, *, valid: float = math.inf, negative_valid: float = 0.0) -> None:
        self.valid = valid
        self.negative_valid = negative_valid
        self.nodes: dict[int, Tree | bytes | str] = {}
        self.names: dict[int, dict[bytes, int]] = {}
        self.calls: Counter[str] = Counter()
        self.forgotten: Counter[int] = Counter()
        self.slow: Callable[[], Coroutine[Any, Any, None]] | None = None  # what answers wait for; None: answered at once
        self.failure: BaseException | None = None  # raised by every call
        self.hold_reads = False
        self.held: list[tuple[int, int, int, ReadDone]] = []
        self.keep_pages = True
        self._add(tree)

    def _add(self, item: Tree | bytes | str) -> int:
        node = len(self.nodes) + 1
        self.nodes[node] = item
        if isinstance(item, Mapping):
            self.names[node] = {}
            self.names[node] = {name: self._add(child) for name, child in item.items()}
        return node

    def put(self, parent: int, name: bytes, item: Tree | bytes | str) -> int:
        """Gives a name to a new node."""
        self.names[parent][name] = self._add(item)
        return self.names[parent][name]

    def release_reads(self) -> None:
        """Answers what was held, and holds no more."""
        self.hold_reads = False
        held, self.held = self.held, []
        for node, offset, size, done in held:
            self.read(node, offset, size, done)

    def _called(self, what: str) -> None:
        self.calls[what] += 1
        if self.failure is not None:
            raise self.failure

    def _soon(self, answer: Callable[[], T]) -> Soon[T]:
        if self.slow is None:
            return answer()
        return self._later(self.slow, answer)

    async def _later(self, slow: Callable[[], Coroutine[Any, Any, None]], answer: Callable[[], T]) -> T:
        await slow()
        return answer()

    def _node(self, node: int) -> Tree | bytes | str:
        if node not in self.nodes:
            raise StaleNode(f"node {node}")
        return self.nodes[node]

    def attributes(self, node: int) -> Attributes:
        item = self._node(node)
        if isinstance(item, Mapping):
            return Attributes(node, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, MTIME_NS)
        kind = stat.S_IFLNK | 0o777 if isinstance(item, str) else stat.S_IFREG | 0o644
        return Attributes(node, kind, 1, 0, 0, len(item), (len(item) + 511) // 512, MTIME_NS)

    def _entry(self, parent: int, name: bytes) -> Entry:
        if parent not in self.names:
            self._node(parent)
            raise NotDirectory(f"node {parent}")
        node = self.names[parent].get(name)
        if node is not None:
            return Entry(node, self.attributes(node), self.valid, self.valid)
        if self.negative_valid:
            return Entry(0, None, self.negative_valid, 0)
        raise NotFound(repr(name))

    def lookup(self, parent: int, name: bytes) -> Soon[Entry]:
        self._called("lookup")
        return self._soon(lambda: self._entry(parent, name))

    def getattr(self, node: int) -> Soon[tuple[Attributes, float]]:
        self._called("getattr")
        return self._soon(lambda: (self.attributes(node), self.valid))

    def readlink(self, node: int) -> Soon[bytes]:
        self._called("readlink")
        return self._soon(lambda: str(self._node(node)).encode())

    def open(self, node: int, flags: int) -> Soon[bool]:
        self._called("open")
        self._node(node)
        return self._soon(lambda: self.keep_pages)

    def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
        self._called("read")
        data = self._node(node)
        if not isinstance(data, bytes):
            raise InvalidArgument("not a file")
        if self.hold_reads:
            self.held.append((node, offset, size, done))
            return
        view = memoryview(data)[offset : offset + size]
        done((view[: len(view) // 2], view[len(view) // 2 :]))

    def list(self, node: int, offset: int) -> Soon[Sequence[DirectoryEntry]]:
        self._called("list")
        self._node(node)
        return self._soon(lambda: self._list(node, offset))

    def _list(self, node: int, offset: int) -> Sequence[DirectoryEntry]:
        names = sorted(self.names.get(node, {}))[offset : offset + 1000]
        return [listed(name, self._entry(node, name), offset + index + 1) for index, name in enumerate(names)]

    def getxattr(self, node: int, name: bytes) -> Soon[bytes]:
        self._called("getxattr")
        self._node(node)
        if name == b"user.oss.etag":
            return self._soon(lambda: b"0123456789abcdef")
        if name.startswith(b"user.oss."):
            raise NoAttribute(repr(name))
        raise Unsupported(repr(name))

    def listxattr(self, node: int) -> Soon[Sequence[bytes]]:
        self._called("listxattr")
        self._node(node)
        return self._soon(lambda: [b"user.oss.etag"])

    def statfs(self) -> FilesystemStatistics:
        self._called("statfs")
        return FilesystemStatistics(4096, 1 << 30, 0, 255)

    def forget(self, node: int, count: int) -> None:
        self._called("forget")
        self.forgotten[node] += count


async def sleep_a_little() -> None:
    """For MemoryFilesystem.slow: an answer that comes after other tasks had their turn."""
    await trio.sleep(0.001)


def notifications_done(channel: KernelChannel) -> bool:
    """Whether the kernel has been told all that it was to be told."""
    return not any(lane.behind for lane in channel._notifier.lanes)


def writer_waits(channel: KernelChannel) -> bool:
    """Whether a notification of a node is in the kernel's hands (or on its way there) and not done."""
    return channel._notifier.nodes.sent > channel._notifier.nodes.confirmed
