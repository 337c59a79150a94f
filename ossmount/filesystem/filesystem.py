"""The read-only file system: what each operation means, over the namespace and the reader."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from ossmount.config import FilesystemConfig
from ossmount.data.interface import Reader
from ossmount.errors import Changed, Corrupted, InvalidArgument, IsDirectory, NameTooLong, NotFound, OssMountError, StaleNode
from ossmount.filesystem import xattrs
from ossmount.filesystem.ahead.targets import LARGEST
from ossmount.filesystem.attributes import AttributeMaker
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, FilesystemStatistics, Kernel, ReadDone
from ossmount.metadata.interface import Named, Namespace
from ossmount.model import Absent, Found, Kind, Node, Soon, Version

NAME_MAX = 255  # bytes

_S = TypeVar("_S")
_T = TypeVar("_T")
_DOTS = 2  # the offset behind ".."; that behind "." is 1. No name's: ids of nodes are larger, but the root's, which is no name
_new_entry = partial(tuple.__new__, DirectoryEntry)  # from a tuple of all fields, in a third of the time


class Filesystem:
    """Operations of one mount. Runs on the event loop's thread only.

    What the kernel is told to keep never outlives our own validity: each timeout is the smaller of the option and of what is
    left of the namespace's answer, so the two never add up.
    """

    def __init__(self, namespace: Namespace, reader: Reader, config: FilesystemConfig, head: xattrs.Head) -> None:
        self._namespace = namespace
        self._reader = reader
        self._config = config
        self._head = head
        self._attributes = AttributeMaker(config)
        self._kernel: Kernel | None = None
        self._note: Callable[[Node], None] | None = None
        self._absent = Entry(0, None, config.negative_timeout, 0.0)

    def attach(self, kernel: Kernel) -> None:
        """From now on changes are told to this kernel."""
        self._kernel = kernel

    def watch(self, note: Callable[[Node], None]) -> None:
        """From now on note is told of each READ of the first bytes of a small file."""
        self._note = note

    def changed(self, node: int, names: Sequence[tuple[int, bytes]]) -> None:
        """The namespace learned that a node's version is gone or a directory's names changed: the kernel must forget them."""
        if self._kernel is not None:
            for parent, name in names:
                self._kernel.invalidate_entry(parent, name)
            self._kernel.invalidate_node(node)

    def drop(self, version: Version) -> None:
        """What was read of the version is not to be believed: the kernel must forget it."""
        found = self._namespace.file(version.key)
        if found is not None and (found.etag, found.size) == (version.etag, version.size):
            self._forget_pages(found.id)

    def lookup(self, parent: int, name: bytes) -> Soon[Entry]:
        if len(name) > NAME_MAX:
            raise NameTooLong(f"a name of {len(name)} bytes; at most {NAME_MAX} are possible")
        known = self._namespace.lookup(parent, name)
        return _after(known, self._answer) if isinstance(known, Coroutine) else self._answer(known)

    def getattr(self, node: int) -> Soon[tuple[Attributes, float]]:
        return _then(self._namespace.getattr(node), self._stat)

    async def readlink(self, node: int) -> bytes:
        if self._namespace.resolve(node).kind is not Kind.SYMLINK:
            raise InvalidArgument(f"node {node} is no symbolic link")
        return await self._namespace.readlink(node)

    def open(self, node: int, flags: int) -> Soon[bool]:
        if self._namespace.resolve(node).kind is Kind.DIRECTORY:
            raise IsDirectory(f"node {node} is a directory")
        if not self._config.close_to_open:
            return True
        # A node is one version: if it is still the current one, every page that the kernel has of it is right.
        return _then(self._namespace.revalidate(node), _keep)

    def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
        try:
            found = self._namespace.resolve(node)
        except OssMountError as failure:
            done(failure)
            return
        if found.kind is Kind.DIRECTORY:
            done(IsDirectory(f"node {node} is a directory"))
            return
        if offset == 0 and found.size <= LARGEST and self._note is not None:
            self._note(found)
        version = Version(found.key, found.etag, found.size)

        def answer(result: Sequence[memoryview] | OssMountError) -> None:
            if not isinstance(result, OssMountError):
                done(result)
            elif isinstance(result, (Changed, NotFound)):
                self._gone(found, version, result, done)
            else:
                if isinstance(result, Corrupted):
                    self._forget_pages(found.id)
                done(result)

        self._reader.read(version, offset, size, answer)

    def list(self, node: int, offset: int) -> Soon[Sequence[DirectoryEntry]]:
        # An offset is the id of the last name's node: it stays good while names before and behind it come and go.
        after = self._namespace.name_of(offset) if offset > _DOTS else b""
        try:
            known = self._namespace.list(node, after)
        except NotFound as gone:
            raise _no_end(gone) from gone
        if isinstance(known, Coroutine):
            return self._list_slowly(known, node, offset)
        return self._with_dots(self._entries(known), node, offset)

    def getxattr(self, node: int, name: bytes) -> Soon[bytes]:
        return xattrs.value(self._namespace.resolve(node), name, self._head)

    def listxattr(self, node: int) -> Sequence[bytes]:
        return xattrs.names(self._namespace.resolve(node))

    def statfs(self) -> FilesystemStatistics:
        # A bucket has no size: a petabyte, all of it used, stops neither `df` nor a program that looks for free space to write.
        return FilesystemStatistics(block_size=4096, blocks=1 << 38, files=0, name_max=NAME_MAX)

    def forget(self, node: int, count: int) -> None:
        """Advisory: ids live in the store, so nothing is freed by it."""

    async def _list_slowly(
        self, known: Coroutine[Any, Any, Sequence[Named]], node: int, offset: int
    ) -> Sequence[DirectoryEntry]:
        try:
            return self._with_dots(self._entries(await known), node, offset)
        except NotFound as gone:
            raise _no_end(gone) from gone

    def _with_dots(self, entries: Sequence[DirectoryEntry], node: int, offset: int) -> Sequence[DirectoryEntry]:
        """Before the first name "." and "..", of which the kernel takes the number and the type."""
        if offset >= _DOTS:
            return entries
        common = self._attributes.common(Kind.DIRECTORY, 0.0, 0.0)
        dots = ((b".", node, 0, 0, 1, common), (b"..", self._namespace.parent_of(node), 0, 0, _DOTS, common))
        return [*map(_new_entry, dots[offset:]), *entries]

    def _forget_pages(self, node: int) -> None:
        if self._kernel is not None:
            self._kernel.invalidate_node(node)

    def _gone(self, node: Node, version: Version, failure: OssMountError, done: ReadDone) -> None:
        """The version that a READ wants is gone: its names are invalidated first, so that the next open() sees the new one."""
        self._reader.forget(version)
        self._namespace.version_gone(node.id)
        stale = failure if isinstance(failure, Changed) else Changed(str(failure))
        if self._kernel is None:
            done(stale)
        else:
            self._kernel.after_invalidations(lambda: done(stale))

    def _answer(self, found: Found | Absent) -> Entry:
        config = self._config
        if isinstance(found, Absent):
            return self._absent._replace(entry_valid=min(config.negative_timeout, found.fresh_for))
        return self._entry(found)

    def _entry(self, found: Found) -> Entry:
        attributes, valid = self._stat(found)
        return Entry(attributes.node, attributes, min(self._config.entry_timeout, found.fresh_for), valid)

    def _stat(self, found: Found) -> tuple[Attributes, float]:
        """Attributes, and for how long they hold.

        A listing that the kernel keeps is good while the directory's mtime is the same, which it looks at (kernel channel) when
        the attributes ran out. So the mtime is when the listing was last true, and is believed no longer than the listing is.
        """
        node, fresh_for = found
        valid = min(self._config.attr_timeout, fresh_for)
        if node.kind is not Kind.DIRECTORY:
            return self._attributes(node), valid
        listed = self._namespace.listed(node.id)
        return self._attributes(node._replace(mtime_ns=listed.time_ns)), min(valid, listed.fresh_for)

    def _entries(self, named: Sequence[Named]) -> Sequence[DirectoryEntry]:
        config = self._config
        entries: list[DirectoryEntry] = []
        last_kind: Kind | None = None
        last_fresh_for = 0.0
        for name, node, kind, size, mtime_ns, fresh_for in named:
            if kind is Kind.DIRECTORY:  # as in _stat()
                mtime_ns, listing_fresh_for = self._namespace.listed(node)
                last_kind = None
                valid = min(config.attr_timeout, fresh_for, listing_fresh_for)
                common = self._attributes.common(kind, min(config.entry_timeout, fresh_for), valid)
            elif kind is not last_kind or fresh_for != last_fresh_for:
                last_kind, last_fresh_for = kind, fresh_for
                valid = min(config.attr_timeout, fresh_for)
                common = self._attributes.common(kind, min(config.entry_timeout, fresh_for), valid)
            entries.append(_new_entry((name, node, size, mtime_ns, node, common)))
        return entries


def _then(soon: Soon[_S], step: Callable[[_S], _T]) -> Soon[_T]:
    """Takes the step at once where the answer is in memory, else behind the answer."""
    if isinstance(soon, Coroutine):
        return _after(soon, step)
    return step(soon)


async def _after(soon: Coroutine[Any, Any, _S], step: Callable[[_S], _T]) -> _T:
    return step(await soon)


def _keep(_: Found) -> bool:
    return True


def _no_end(gone: NotFound) -> StaleNode:
    """readdir(3) takes ENOENT for the end of the directory: a directory that vanished would look empty, or cut short."""
    return StaleNode(str(gone))
