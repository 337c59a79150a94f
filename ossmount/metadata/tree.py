"""The tree as the store knows it, with bounded caches in front. Synchronous, on the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cachetools import LRUCache

from ossmount.errors import NotDirectory, StaleNode
from ossmount.metadata import keys, records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.records import Child, Location
from ossmount.metadata.store import ROOT, Store
from ossmount.metadata.transaction import Change, Lookup
from ossmount.model import Kind, Node

_NOTHING = Lookup(None, None)


class Tree:
    """Reads of names and ids. What it caches is what the store holds: apply() after each write of this process.

    Another process's writes to a shared store are noticed at the next write of this one; until then it goes on with what was
    right when it asked.
    """

    def __init__(self, store: Store, prefix: bytes, *, symlinks: bool, entries: int) -> None:
        self.store = store
        self.symlinks = symlinks
        self._children: LRUCache[tuple[int, bytes], Lookup] = LRUCache(entries)
        self._locations: LRUCache[int, Location] = LRUCache(entries)
        self._coverage: LRUCache[int, Coverage] = LRUCache(max(16, entries // 8))
        self._prefixes: LRUCache[int, bytes] = LRUCache(max(16, entries // 8))
        self._nodes: dict[int, Node] = {}  # of objects that were looked up since the last change: READ asks for them next
        self._most_nodes = entries
        self._root_prefix = prefix
        store.on_foreign_commit = self.clear

    def clear(self) -> None:
        """Forgets what was read (not prefixes: they never change)."""
        self._children.clear()
        self._locations.clear()
        self._coverage.clear()
        self._nodes.clear()

    def drop(self, numbers: Iterable[int]) -> None:
        """Forgets ids that the store does not have any more."""
        for number in numbers:
            self._nodes.pop(number, None)
            self._locations.pop(number, None)
            self._prefixes.pop(number, None)

    def children(self, parent: int, name: bytes) -> Lookup:
        """Both sides of a stored name."""
        found = self._children.get((parent, name))
        if found is None:
            found = self.store.children(parent, name)
            if found != _NOTHING:  # names that do not exist are without number
                self._children[parent, name] = found
        return found

    def coverage(self, directory: int) -> Coverage:
        found = self._coverage.get(directory)
        if found is None:
            found = self._coverage[directory] = self.store.coverage(directory)
        return found

    def location(self, number: int) -> Location:
        """Raises StaleNode for an id that was never given out, and for one that was pruned."""
        found = self._locations.get(number)
        if found is None:
            found = self.store.location(number)
            if found is None:
                raise StaleNode(f"node {number} was never given out by this store, or was dropped when nobody could name it")
            self._locations[number] = found
        return found

    def prefix(self, directory: int) -> bytes:
        """The prefix of a directory's keys, also of one that is gone; raises NotDirectory, StaleNode."""
        if directory == ROOT:
            return self._root_prefix
        found = self._prefixes.get(directory)
        if found is None:
            location = self.location(directory)
            if not location.directory:
                raise NotDirectory(f"node {directory} is a file")
            found = self._prefixes[directory] = self.prefix(location.parent) + location.name + b"/"
        return found

    def check_directory(self, directory: int) -> None:
        """Raises NotDirectory, and StaleNode for a directory that is gone."""
        if directory == ROOT:
            return
        location = self.location(directory)
        if not location.directory:
            raise NotDirectory(f"node {directory} is a file")
        if location.last is not None:
            raise StaleNode(f"directory {directory} is gone")

    def current(self, number: int) -> tuple[Location, Child] | None:
        """The node as its name stands for it now; None when the name stands for something else or nothing."""
        location = self.location(number)
        if location.last is not None:
            return None
        child = self.children(location.parent, location.name)[0 if location.directory else 1]
        return None if child is None or child.id != number else (location, child)

    def node(self, parent: int, name: bytes, child: Child, *, directory: bool) -> Node:
        key = self.prefix(parent) + name
        if directory:
            return records.node_of(child, key + b"/", directory=True, symlinks=self.symlinks)
        node = records.node_of(child, key, directory=False, symlinks=self.symlinks)
        if len(self._nodes) >= self._most_nodes:
            self._nodes.clear()
        self._nodes[child.id] = node
        return node

    def directories(self, parent: int) -> list[int]:
        """The ids of the directories in one that are known."""
        with self.store.scan(parent, b"") as (_, rows):
            return [records.child_id(record) for _, directory, record in rows if directory]

    def directories_in_order(self, parent: int, most: int) -> list[int]:
        """The ids of the directories in one that are known, in the order of their keys; none when there are more than most."""
        found: list[tuple[bytes, int]] = []
        with self.store.scan(parent, b"") as (_, rows):
            for name, directory, record in rows:
                if directory:
                    found.append((name + b"/", records.child_id(record)))
                    if len(found) > most:
                        return []
        return [number for _, number in sorted(found)]

    def maker(self, parent: int) -> Callable[[bytes, Child, bool], Node]:
        """node() for many children of one directory."""
        prefix = self.prefix(parent)
        symlinks = self.symlinks

        def make(name: bytes, child: Child, directory: bool) -> Node:
            key = prefix + name + b"/" if directory else prefix + name
            return records.node_of(child, key, directory=directory, symlinks=symlinks)

        return make

    def is_target(self, child: Child) -> bool:
        """Whether the object is a link that is shown as what it points to."""
        return not self.symlinks and child.object_type == "Symlink"

    def root(self) -> Node:
        return Node(ROOT, Kind.DIRECTORY, self._root_prefix, 0, 0, "")

    def resolve(self, number: int) -> Node:
        """The node of an id, also when it is replaced or removed; raises StaleNode when it was never given out."""
        if number == ROOT:
            return self.root()
        known = self._nodes.get(number)
        if known is not None:
            return known
        location = self.location(number)
        last = location.last
        if last is None:
            last = self.children(location.parent, location.name)[0 if location.directory else 1]
        if last is None or last.id != number:  # another process replaced it
            self._locations.pop(number, None)
            self._children.pop((location.parent, location.name), None)
            location = self.location(number)
            last = location.last or self.children(location.parent, location.name)[0 if location.directory else 1]
        if last is None:
            raise StaleNode(f"node {number} is gone")
        return self.node(location.parent, location.name, last, directory=location.directory)

    def find(self, path: bytes) -> tuple[int, bytes, bool] | None:
        """Parent, stored name and side of a path, without asking OSS; None when the store does not know it."""
        parent = ROOT
        found: tuple[int, bytes, bool] | None = None
        for name in path.strip(b"/").split(b"/"):
            target = keys.target_of(name)
            if target is None or (found is not None and not found[2]):
                return None
            directory, file = self.children(parent, target.stored)
            if target.directory and directory is not None:
                found = (parent, target.stored, True)
                parent = directory.id
            elif target.file and file is not None:
                found = (parent, target.stored, False)
            else:
                return None
        return found

    def file(self, key: bytes) -> Node | None:
        """The object of a key, without asking OSS; None when the store does not know it."""
        parent = ROOT
        *folders, name = key.removeprefix(self._root_prefix).split(b"/")
        for folder in folders:
            directory = self.children(parent, folder).directory
            if directory is None:
                return None
            parent = directory.id
        child = self.children(parent, name).file
        return None if child is None else self.node(parent, name, child, directory=False)

    def shown_name(self, number: int) -> bytes:
        """The name that shows a node; raises StaleNode."""
        if number == ROOT:
            return b""
        location = self.location(number)
        return self.shown(location.parent, location.name, location.directory)

    def shown(self, parent: int, name: bytes, directory: bool) -> bytes:
        if directory:
            return keys.shown_name(name, Kind.DIRECTORY) or name
        shadowed = self.children(parent, name).directory is not None
        return keys.shown_name(name, Kind.FILE, shadowed=shadowed) or name

    def apply(self, changes: Iterable[Change]) -> None:
        """Drops what a write changed, to be read again: writes are not taken over in the order in which they committed."""
        self._nodes.clear()
        for change in changes:
            self._coverage.pop(change.directory, None)
            for name in change.names:
                self._children.pop((change.directory, name), None)
            for number, parent, name, _ in change.gone:
                self._locations.pop(number, None)
                self._children.pop((parent, name), None)
                self._coverage.pop(number, None)
