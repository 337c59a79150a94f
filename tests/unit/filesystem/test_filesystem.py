"""The filesystem over a namespace and a reader that are plain dictionaries."""

from __future__ import annotations

import errno
import math
import stat
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import pytest
import trio

from ossmount.config import FilesystemConfig
from ossmount.data.interface import ReadDone
from ossmount.errors import (
    Changed,
    Corrupted,
    DeadlineExceeded,
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NoAttribute,
    NotFound,
    OssMountError,
    StaleNode,
    Unsupported,
)
from ossmount.filesystem.filesystem import Filesystem
from ossmount.metadata.interface import Listed, Named
from ossmount.model import Absent, Found, Kind, Node, ObjectInfo, Soon, Version

T = TypeVar("T")

ROOT = Node(1, Kind.DIRECTORY, b"", 0, 0, "")
FILE = Node(100, Kind.FILE, b"dir/file", 1000, 5_000_000_000, "etag-1", "Multipart", "IA")
LINK = Node(101, Kind.SYMLINK, b"dir/link", 4, 0, "etag-2", "Symlink")


class DictNamespace:
    def __init__(self, fresh_for: float = math.inf, late: bool = False) -> None:
        self.nodes = {node.id: node for node in (ROOT, FILE, LINK)}
        self.names = {(1, b"file"): FILE, (1, b"link"): LINK}
        self.fresh_for = fresh_for
        self.late = late
        self.gone: list[int] = []
        self.revalidated: list[int] = []
        self.lists: list[tuple[int, bytes]] = []
        self.listings: dict[int, Listed] = {}
        self.on_gone: Callable[[int, Sequence[tuple[int, bytes]]], None] = lambda node, names: None

    def lookup(self, parent: int, name: bytes) -> Soon[Found | Absent]:
        node = self.names.get((parent, name))
        answer = Absent(self.fresh_for) if node is None else Found(node, self.fresh_for)
        return self._later(answer) if self.late else answer

    async def _later(self, answer: Found | Absent) -> Found | Absent:
        await trio.lowlevel.checkpoint()
        return answer

    def getattr(self, node: int) -> Soon[Found]:
        return Found(self.resolve(node), self.fresh_for)

    async def revalidate(self, node: int) -> Found:
        self.revalidated.append(node)
        return Found(self.resolve(node), self.fresh_for)

    def resolve(self, node: int) -> Node:
        try:
            return self.nodes[node]
        except KeyError:
            raise StaleNode(str(node)) from None

    def parent_of(self, node: int) -> int:
        return 1

    def file(self, key: bytes) -> Node | None:
        return next((node for node in self.nodes.values() if node.key == key), None)

    def list(self, node: int, after: bytes) -> Soon[Sequence[Named]]:
        self.lists.append((node, after))
        return [
            Named(name, n.id, n.kind, n.size, n.mtime_ns, self.fresh_for)
            for (p, name), n in sorted(self.names.items())
            if p == node and name > after
        ]

    def listed(self, node: int) -> Listed:
        return self.listings.get(node, Listed(0, math.inf))

    def name_of(self, node: int) -> bytes:
        return next(name for (_, name), n in self.names.items() if n.id == node)

    async def readlink(self, node: int) -> bytes:
        return b"file"

    def version_gone(self, node: int) -> None:
        self.gone.append(node)
        self.on_gone(node, [(1, b"file")])


class DictReader:
    def __init__(self, data: bytes = b"", failure: OssMountError | None = None) -> None:
        self.data = data
        self.failure = failure
        self.forgotten: list[Version] = []

    def read(self, version: Version, offset: int, size: int, done: ReadDone) -> None:
        done(self.failure or [memoryview(self.data)[offset : offset + size]])

    def forget(self, version: Version) -> None:
        self.forgotten.append(version)


class RecordingKernel:
    def __init__(self) -> None:
        self.told: list[object] = []

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self.told.append((parent, name))

    def invalidate_node(self, node: int) -> None:
        self.told.append(node)

    def after_invalidations(self, then: Callable[[], None]) -> None:
        self.told.append("flush")
        then()


async def _no_head(key: bytes) -> ObjectInfo:
    raise AssertionError(f"HEAD of {key!r} was not expected")


def _filesystem(namespace: DictNamespace | None = None, reader: DictReader | None = None, **options: Any) -> Filesystem:
    return Filesystem(namespace or DictNamespace(), reader or DictReader(), FilesystemConfig(**options), _no_head)


def _now(soon: Soon[T]) -> T:
    """The answer, which must have been in memory."""
    assert not isinstance(soon, Coroutine)
    return soon


def _wait(soon: Soon[T]) -> T:
    async def wait() -> T:
        assert isinstance(soon, Coroutine)
        return cast(T, await soon)

    return trio.run(wait)


def _read(filesystem: Filesystem, node: int, offset: int, size: int) -> bytes | OssMountError:
    answers: list[bytes | OssMountError] = []
    filesystem.read(node, offset, size, lambda r: answers.append(r if isinstance(r, OssMountError) else b"".join(r)))
    [answer] = answers
    return answer


def test_a_file_has_its_size_time_owner_and_the_bits_that_the_umask_leaves() -> None:
    entry = _now(_filesystem(uid=7, gid=8, umask=0o027).lookup(1, b"file"))
    attributes = entry.attributes
    assert attributes is not None
    assert (entry.node, attributes.node) == (100, 100)
    assert attributes.mode == stat.S_IFREG | 0o640
    assert (attributes.uid, attributes.gid, attributes.nlink) == (7, 8, 1)
    assert (attributes.size, attributes.blocks, attributes.mtime_ns) == (1000, 2, 5_000_000_000)


def test_a_directory_can_be_entered() -> None:
    attributes, _ = _now(_filesystem(umask=0o022).getattr(1))
    assert attributes.mode == stat.S_IFDIR | 0o755


def test_a_directory_shows_when_its_listing_was_last_true_and_for_no_longer_than_that_holds() -> None:
    namespace = DictNamespace()
    filesystem = _filesystem(namespace, attr_timeout=60)
    attributes, valid = _now(filesystem.getattr(1))
    assert (attributes.mtime_ns, valid) == (0, 60)
    namespace.listings[1] = Listed(7_000_000_000, 20.0)
    attributes, valid = _now(filesystem.getattr(1))
    assert (attributes.mtime_ns, valid) == (7_000_000_000, 20)


@pytest.mark.parametrize("late", [False, True])
def test_the_kernel_keeps_nothing_longer_than_we_do_ourselves(late: bool) -> None:
    filesystem = _filesystem(DictNamespace(fresh_for=3.0, late=late), attr_timeout=60, entry_timeout=2, negative_timeout=5)
    answer = _wait if late else _now
    entry = answer(filesystem.lookup(1, b"file"))
    assert (entry.entry_valid, entry.attr_valid) == (2, 3)
    absent = answer(filesystem.lookup(1, b"none"))
    assert (absent.node, absent.entry_valid) == (0, 3)


def test_a_name_over_255_bytes_is_refused() -> None:
    with pytest.raises(NameTooLong):
        _filesystem().lookup(1, b"x" * 256)


def test_listing_goes_on_behind_the_node_that_the_offset_names() -> None:
    namespace = DictNamespace()
    filesystem = _filesystem(namespace)
    dot, above, first, second = _now(filesystem.list(1, 0))
    assert [(each.name, each.node, each.common.mode >> 12) for each in (dot, above)] == [(b".", 1, 4), (b"..", 1, 4)]
    assert (first.name, second.name) == (b"file", b"link")
    assert _now(filesystem.list(1, dot.next_offset)) == [above, first, second]
    assert _now(filesystem.list(1, above.next_offset)) == [first, second]
    assert [e.name for e in _now(filesystem.list(1, first.next_offset))] == [b"link"]
    assert list(_now(filesystem.list(1, second.next_offset))) == []
    assert namespace.lists == [(1, b"")] * 3 + [(1, b"file"), (1, b"link")]


def test_a_directory_that_vanishes_is_stale_and_does_not_look_empty() -> None:
    class Vanished(DictNamespace):
        def list(self, node: int, after: bytes) -> Soon[Sequence[Named]]:
            if self.late:
                return self._vanish()
            raise NotFound("no such bucket")

        async def _vanish(self) -> Sequence[Named]:
            await trio.lowlevel.checkpoint()
            raise NotFound("no such bucket")

    with pytest.raises(StaleNode):
        _filesystem(Vanished()).list(1, 0)
    with pytest.raises(StaleNode):
        _wait(_filesystem(Vanished(late=True)).list(1, 0))


def test_reading_gives_the_bytes_of_the_version() -> None:
    filesystem = _filesystem(reader=DictReader(b"0123456789"))
    assert _read(filesystem, 100, 2, 3) == b"234"


def test_reading_a_directory_or_an_unknown_node_fails() -> None:
    filesystem = _filesystem()
    assert isinstance(_read(filesystem, 1, 0, 10), IsDirectory)
    assert isinstance(_read(filesystem, 5555, 0, 10), StaleNode)


@pytest.mark.parametrize("failure", [Changed("replaced"), NotFound("deleted")])
def test_the_names_of_a_version_that_is_gone_are_invalidated_before_the_reader_hears_estale(failure: OssMountError) -> None:
    namespace, reader, kernel = DictNamespace(), DictReader(failure=failure), RecordingKernel()
    filesystem = _filesystem(namespace, reader)
    filesystem.attach(kernel)
    namespace.on_gone = filesystem.changed
    answer = _read(filesystem, 100, 0, 10)
    assert isinstance(answer, Changed)
    assert answer.errno == errno.ESTALE
    assert namespace.gone == [100]
    assert reader.forgotten == [Version(b"dir/file", "etag-1", 1000)]
    assert kernel.told == [(1, b"file"), 100, "flush"]


def test_another_failure_of_a_read_leaves_the_names_alone() -> None:
    namespace = DictNamespace()
    answer = _read(_filesystem(namespace, DictReader(failure=DeadlineExceeded("slow"))), 100, 0, 10)
    assert isinstance(answer, DeadlineExceeded)
    assert namespace.gone == []


def test_open_asks_oss_only_for_close_to_open() -> None:
    namespace = DictNamespace()
    assert _now(_filesystem(namespace).open(100, 0)) is True
    assert namespace.revalidated == []
    assert _wait(_filesystem(namespace, close_to_open=True).open(100, 0)) is True
    assert namespace.revalidated == [100]
    with pytest.raises(IsDirectory):
        _filesystem().open(1, 0)


def test_readlink_is_for_symlinks() -> None:
    filesystem = _filesystem()
    assert trio.run(filesystem.readlink, 101) == b"file"
    with pytest.raises(InvalidArgument):
        trio.run(filesystem.readlink, 100)


def test_extended_attributes_show_what_oss_says() -> None:
    filesystem = _filesystem()
    assert _now(filesystem.getxattr(100, b"user.oss.etag")) == b"etag-1"
    assert _now(filesystem.getxattr(100, b"user.oss.storage_class")) == b"IA"
    assert _now(filesystem.getxattr(100, b"user.oss.object_type")) == b"Multipart"
    assert b"user.oss.crc64" in filesystem.listxattr(100)
    assert filesystem.listxattr(1) == []
    with pytest.raises(Unsupported):
        filesystem.getxattr(100, b"security.capability")
    with pytest.raises(NoAttribute):
        filesystem.getxattr(100, b"user.oss.other")
    with pytest.raises(NoAttribute):
        filesystem.getxattr(1, b"user.oss.etag")


def _with_head(answer: ObjectInfo | OssMountError) -> Filesystem:
    async def head(key: bytes) -> ObjectInfo:
        assert key == b"dir/file"
        if isinstance(answer, OssMountError):
            raise answer
        return answer

    return Filesystem(DictNamespace(), DictReader(), FilesystemConfig(), head)


def test_the_crc_comes_from_a_head_of_the_same_version() -> None:
    info = ObjectInfo(b"dir/file", 1000, 0, "etag-1", crc64=2**64 - 1)
    assert _wait(_with_head(info).getxattr(100, b"user.oss.crc64")) == b"18446744073709551615"
    with pytest.raises(Changed):
        _wait(_with_head(info._replace(etag="etag-9")).getxattr(100, b"user.oss.crc64"))
    with pytest.raises(NoAttribute):
        _wait(_with_head(info._replace(crc64=None)).getxattr(100, b"user.oss.crc64"))
    with pytest.raises(Changed):
        _wait(_with_head(NotFound("gone")).getxattr(100, b"user.oss.crc64"))


def test_the_kernel_forgets_the_pages_of_what_is_corrupted() -> None:
    """Also where nobody reads it just now; the pages of another version stay."""
    filesystem, kernel = _filesystem(reader=DictReader(failure=Corrupted("bad"))), RecordingKernel()
    filesystem.attach(kernel)
    answers: list[object] = []
    filesystem.read(FILE.id, 0, 10, answers.append)
    assert [type(answer) for answer in answers] == [Corrupted] and kernel.told == [FILE.id]
    kernel.told.clear()
    filesystem.drop(Version(FILE.key, "another", FILE.size))
    filesystem.drop(Version(b"unknown", FILE.etag, FILE.size))
    assert kernel.told == []
    filesystem.drop(Version(FILE.key, FILE.etag, FILE.size))
    assert kernel.told == [FILE.id]
