"""A known tree and a prefetcher that do what the test says."""

from __future__ import annotations

from collections.abc import Sequence

from ossmount.data.interface import Outcome, PrefetchDone
from ossmount.errors import StaleNode
from ossmount.filesystem.ahead.scheduler import Scheduler
from ossmount.filesystem.ahead.targets import Target, target_of
from ossmount.metadata.interface import ROOT
from ossmount.model import Kind, Node, Version

SIZE = 100_000  # bytes of each file


class FakeTree:
    """Implements KnownTree over folders that are added."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {ROOT: Node(ROOT, Kind.DIRECTORY, b"", 0, 0, "")}
        self.parents: dict[int, int] = {ROOT: ROOT}
        self.children: dict[int, list[int]] = {ROOT: []}

    def _add(self, parent: int, node: Node) -> Node:
        self.nodes[node.id] = node
        self.parents[node.id] = parent
        self.children[parent].append(node.id)
        return node

    def folder(self, name: str, parent: int = ROOT) -> int:
        number = len(self.nodes) + 1
        self.children[number] = []
        key = self.nodes[parent].key + name.encode() + b"/"
        return self._add(parent, Node(number, Kind.DIRECTORY, key, 0, 0, "")).id

    def file(self, parent: int, name: str, size: int = SIZE) -> Node:
        key = self.nodes[parent].key + name.encode()
        return self._add(parent, Node(len(self.nodes) + 1, Kind.FILE, key, size, 0, "e"))

    def files(self, parent: int, count: int, size: int = SIZE) -> list[Node]:
        return [self.file(parent, f"{number:06d}", size) for number in range(count)]

    def parent_of(self, node: int) -> int:
        if node not in self.parents:
            raise StaleNode(f"{node}")
        return self.parents[node]

    def known(self, directory: int, start: bytes, limit: int) -> tuple[Sequence[Node], bytes | None]:
        first = int(start or b"0")
        numbers = self.children[directory]
        following = first + limit
        nodes = [self.nodes[number] for number in numbers[first:following]]
        return nodes, b"%d" % following if following < len(numbers) else None

    def known_behind(self, node: int, limit: int) -> Sequence[Node]:
        numbers = self.children[self.parent_of(node)]
        at = numbers.index(node) + 1
        return [self.nodes[number] for number in numbers[at : at + limit]]


def target(node: Node) -> Target:
    found = target_of(node)
    assert found is not None
    return found


class FakePrefetcher:
    """Implements Prefetcher; the test ends what is under way."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room  # bytes that may be staged or under way
        self.under_way: dict[Version, tuple[int, PrefetchDone]] = {}
        self.asked: list[tuple[Version, int]] = []
        self.staged: dict[Version, None] = {}
        self.given_back: list[Version] = []
        self.knows = True  # the kernel knows the nodes

    def prefetch(self, version: Version, node: int, done: PrefetchDone) -> bool:
        if sum(each.size for each in [*self.under_way, *self.staged]) + version.size > self.room:
            return False
        assert version not in self.under_way
        self.asked.append((version, node))
        self.under_way[version] = (node, done)
        return True

    def give_back(self, version: Version) -> None:
        self.given_back.append(version)
        self.staged.pop(version, None)

    def end(self, outcome: Outcome | None = None) -> None:
        """The oldest fetch ends, well unless the test says otherwise."""
        version = next(iter(self.under_way))
        node, done = self.under_way.pop(version)
        if outcome is None:
            outcome = Outcome.STORED if node and self.knows else Outcome.STAGED
        if outcome is Outcome.STAGED:
            self.staged[version] = None
        done(outcome)

    def end_all(self) -> None:
        while self.under_way:
            self.end()

    def read(self, node: Node) -> None:
        """A READ takes what is staged."""
        self.staged.pop(target(node).version, None)


class Station:
    """A scheduler over fakes, with a clock that the test sets; turns are taken by hand."""

    def __init__(self, *, room: int = 1 << 40, memory: int = 1 << 40, latency: float | None = 0.015) -> None:
        self.now = 100.0
        self.latency = latency
        self.memory = memory
        self.kernel_wanted = 0
        self.served = False  # by local disks
        self.tree = FakeTree()
        self.prefetcher = FakePrefetcher(room)
        self.scheduler = Scheduler(
            self.tree,
            self.prefetcher,
            connections=64,
            latency=lambda: self.latency,
            memory=lambda: self.memory,
            want_kernel=self._want_kernel,
            served=lambda: self.served,
            clock=lambda: self.now,
        )

    def _want_kernel(self) -> None:
        self.kernel_wanted += 1

    def read(self, *nodes: Node) -> None:
        """READs, and the turn that looks at them."""
        for node in nodes:
            self.prefetcher.read(node)
            self.scheduler.note(node)
        self.now += 0.01
        self.scheduler.turn()

    def settle(self) -> None:
        self.prefetcher.end_all()

    @property
    def asked(self) -> list[Version]:
        return [version for version, _ in self.prefetcher.asked]

    def fact(self, name: str) -> object:
        return self.scheduler.facts()[name]
