"""The pyfuse3 channel on a real mount, over a small tree in memory. Needs /dev/fuse and root or fusermount3."""

from __future__ import annotations

import bisect
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from ossmount.channel import mounting
from ossmount.channel.interface import Channel
from ossmount.channel.pyfuse3_channel import Pyfuse3Channel
from ossmount.channel.pyfuse3_requests import Requests
from ossmount.config import ChannelConfig
from ossmount.errors import Changed, Denied, InvalidArgument, NotFound, OssMountError, StaleNode, Unsupported
from ossmount.filesystem.interface import Attributes, DirectoryEntry, Entry, FilesystemStatistics, Operations, ReadDone
from ossmount.model import Soon
from tests.unit.channel.memory_filesystem import listed

T = TypeVar("T")
LIMIT = 60.0  # seconds, against hanging only


class Tree:
    """Operations over a dict: nodes from 2 on are the files of the root, in the order of their names."""

    def __init__(self, files: dict[bytes, bytes], *, valid: float = 0.0) -> None:
        self.files = files
        self.valid = valid
        self.names = sorted(files)
        self.lists = 0
        self.forgotten = 0
        self.failures: dict[str, Exception] = {}  # by operation
        self.waiting: list[ReadDone] = []
        self.hold_reads = False
        self.keep = True

    def _check(self, operation: str) -> None:
        if operation in self.failures:
            raise self.failures[operation]

    def _attributes(self, node: int) -> Attributes:
        if node == 1:
            return Attributes(1, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0)
        if node - 2 >= len(self.names):
            raise StaleNode(str(node))
        size = len(self.files[self.names[node - 2]])
        return Attributes(node, stat.S_IFREG | 0o644, 1, 0, 0, size, (size + 511) // 512, 1_700_000_000_123_456_789)

    def _entry(self, name: bytes) -> Entry:
        node = bisect.bisect_left(self.names, name) + 2
        return Entry(node, self._attributes(node), self.valid, self.valid)

    def lookup(self, parent: int, name: bytes) -> Soon[Entry]:
        self._check("lookup")
        if name == b"forbidden":
            raise Denied("no")
        if name not in self.files:
            return Entry(0, None, self.valid, 0.0)
        return self._later(self._entry(name))

    async def _later(self, value: T) -> T:
        await trio.lowlevel.checkpoint()
        return value

    def getattr(self, node: int) -> Soon[tuple[Attributes, float]]:
        self._check("getattr")
        return self._attributes(node), self.valid

    def readlink(self, node: int) -> Soon[bytes]:
        raise InvalidArgument("no symlink")

    def open(self, node: int, flags: int) -> Soon[bool]:
        self._check("open")
        return self.keep

    def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
        self._check("read")
        if self.hold_reads:
            self.waiting.append(done)
            return
        data = bytearray(self.files[self.names[node - 2]][offset : offset + size])
        half = len(data) // 2
        done([memoryview(data)[:half], memoryview(data)[half:]])
        data[:] = b"\xff" * len(data)  # views are valid only until done() returns

    def list(self, node: int, offset: int) -> Soon[Sequence[DirectoryEntry]]:
        self._check("list")
        self.lists += 1
        batch = [listed(name, self._entry(name), place + 1) for place, name in enumerate(self.names)][offset : offset + 1000]
        return self._later(batch) if offset else batch

    def getxattr(self, node: int, name: bytes) -> Soon[bytes]:
        if name == b"user.oss.etag":
            return b"E1"
        raise Unsupported("no such attribute")

    def listxattr(self, node: int) -> Soon[Sequence[bytes]]:
        return [b"user.oss.etag", b"user.oss.crc64"]

    def statfs(self) -> FilesystemStatistics:
        return FilesystemStatistics(4096, 1000, 77, 255)

    def forget(self, node: int, count: int) -> None:
        self.forgotten += count


Work = Callable[[Pyfuse3Channel, Path], Awaitable[None]]


def config(mountpoint: Path, **more: Any) -> ChannelConfig:
    return ChannelConfig(mountpoint=mountpoint, source="oss://data", **more)


def serve(
    tree: Tree, place: Path, work: Work, *, unmount: bool = True, session: trio.CancelScope | None = None, **more: Any
) -> Pyfuse3Channel:
    """Mounts the tree, does the work and unmounts; whatever happens, nothing stays mounted. `session` cancels serve()."""
    mountpoint = place / "mount"
    mountpoint.mkdir()
    channel = Pyfuse3Channel(tree, config(mountpoint, **more))

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with session or trio.CancelScope():
            await channel.serve(task_status.started)

    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(run)
                try:
                    await work(channel, mountpoint)
                finally:
                    if unmount:
                        channel.unmount()

    try:
        trio.run(main)
    finally:
        if mounting.is_mountpoint(mountpoint):
            mounting.unmount(mountpoint, lazy=True)
    return channel


async def do(function: Callable[..., T], *arguments: Any) -> T:
    """In a thread: the kernel asks the event loop of this very process."""
    return await trio.to_thread.run_sync(function, *arguments)


def listdir(path: bytes) -> list[bytes]:
    return os.listdir(path)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT / 2):
        while not condition():
            await trio.sleep(0.01)


async def error_of(function: Callable[..., object], *arguments: Any) -> int:
    with pytest.raises(OSError) as caught:
        await do(function, *arguments)
    assert caught.value.errno is not None
    return caught.value.errno


def test_a_tree_is_read_back(tmp_path: Path) -> None:
    tree = Tree({b"a": b"", b"b.txt": b"hello", "é".encode(): os.urandom(3 << 20), b"\xff": b"x" * 4097})

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        root = os.fsencode(mountpoint)
        assert sorted(await do(listdir, root)) == sorted(tree.files)
        for name, data in tree.files.items():
            path = os.path.join(root, name)
            assert await do(Path(os.fsdecode(path)).read_bytes) == data
            status = await do(os.stat, path)
            assert (status.st_size, status.st_blocks, status.st_mode) == (len(data), (len(data) + 511) // 512, 0o100644)
            assert status.st_mtime_ns == status.st_ctime_ns == 1_700_000_000_123_456_789
        found = await do(os.statvfs, root)
        assert (found.f_bsize, found.f_blocks, found.f_files, found.f_namemax) == (4096, 1000, 77, 255)
        assert channel.facts()["state"] == "serving"
        there = mounting.find_mount(str(mountpoint))
        assert there is not None and (there.kind, there.source) == ("fuse.ossmount", "oss://data")

    channel = serve(tree, tmp_path, work)
    assert channel.facts()["state"] == "unmounted"
    assert repr(channel).endswith("/mount unmounted>")
    counts = channel.requests()
    assert counts["OPEN"] == 4 and counts["READ"] >= 5 and "SETATTR" not in counts


def test_failures_become_errno_and_the_mount_goes_on(tmp_path: Path) -> None:
    tree = Tree({b"f": b"data"})

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        file = mountpoint / "f"
        assert await error_of(os.stat, mountpoint / "missing") == errno.ENOENT
        assert await error_of(os.stat, mountpoint / "forbidden") == errno.EACCES
        assert await error_of(os.readlink, file) == errno.EINVAL
        assert await error_of(os.getxattr, file, "user.other") == errno.EOPNOTSUPP
        assert await do(os.getxattr, file, "user.oss.etag") == b"E1"
        assert await do(os.listxattr, file) == ["user.oss.etag", "user.oss.crc64"]
        for operation in ("lookup", "open", "read"):
            tree.failures = {operation: RuntimeError("a defect")}
            assert await error_of(file.read_bytes) == errno.EIO
        tree.failures = {"list": NotFound("gone")}
        assert await error_of(os.listdir, mountpoint) == errno.ESTALE  # ENOENT would look like an empty directory
        tree.failures = {"read": Changed("replaced")}
        assert await error_of(file.read_bytes) == errno.ESTALE
        tree.failures = {}
        assert await do(file.read_bytes) == b"data"

    assert serve(tree, tmp_path, work).facts()["defects"] >= 3  # type: ignore[operator]


def test_writes_are_refused(tmp_path: Path) -> None:
    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        file = mountpoint / "f"
        for attempt in (
            lambda: file.write_bytes(b""),
            lambda: (mountpoint / "new").write_bytes(b""),
            lambda: (mountpoint / "new").mkdir(),
            lambda: file.unlink(),
            lambda: file.rename(mountpoint / "g"),
            lambda: os.truncate(file, 0),
            lambda: file.chmod(0o777),
            lambda: os.setxattr(file, "user.oss.etag", b"x"),
        ):
            assert await error_of(attempt) == errno.EROFS

    serve(Tree({b"f": b"data"}), tmp_path, work)


def test_large_directories_are_listed_in_few_calls(tmp_path: Path) -> None:
    tree = Tree({b"name-%05d" % number: b"" for number in range(3500)}, valid=3600.0)

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        names = await do(listdir, os.fsencode(mountpoint))
        assert len(names) == 3500 and set(names) == set(tree.names)
        assert tree.lists == 5  # four of up to 1,000 names, one empty
        descriptor = await do(os.open, mountpoint, os.O_RDONLY)
        try:
            for _ in range(2):  # listdir of a descriptor rewinds it
                assert len(await do(os.listdir, descriptor)) == 3500
        finally:
            await do(os.close, descriptor)

    channel = serve(tree, tmp_path, work)
    assert channel.requests()["OPENDIR"] == 2


def test_flush_is_asked_once(tmp_path: Path) -> None:
    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        for _ in range(5):
            assert await do((mountpoint / "f").read_bytes) == b"data"

    counts = serve(Tree({b"f": b"data"}), tmp_path, work).requests()
    assert counts["OPEN"] == 5
    assert counts["READ"] < counts["OPEN"]  # keep_cache
    assert "FLUSH" not in counts or counts["FLUSH"] == 1


def test_forgotten_lookups_are_passed_on_and_never_raise() -> None:
    tree = Tree({})
    requests = Requests(tree, direct_io=False)
    trio.run(requests.forget, [(2, 3), (5, 1)])
    assert tree.forgotten == 4
    broken: list[Any] = [(2, "no number")]
    trio.run(requests.forget, broken)
    assert requests.defects == 1


def test_invalidation_reaches_the_kernel(tmp_path: Path) -> None:
    tree = Tree({b"f": b"old"}, valid=3600.0)

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        file = mountpoint / "f"
        assert await do(file.read_bytes) == b"old"
        assert await error_of(os.stat, mountpoint / "z") == errno.ENOENT
        tree.files[b"f"] = b"newer"
        assert (await do(os.stat, file)).st_size == 3
        channel.invalidate_node(2)
        with trio.fail_after(LIMIT / 2):
            while await do(file.read_bytes) != b"newer":
                await trio.sleep(0.01)
        tree.files[b"z"] = b"z"
        tree.names.append(b"z")
        assert await error_of(os.stat, mountpoint / "z") == errno.ENOENT
        channel.invalidate_entry(1, b"z")
        told = trio.Event()
        channel.after_invalidations(told.set)
        await told.wait()
        await until(lambda: channel.facts()["notifications"]["entries"]["waiting"] == 0)  # type: ignore[index]
        assert await do((mountpoint / "z").read_bytes) == b"z"
        assert len(channel.pids()) == 1

    assert serve(tree, tmp_path, work).pids() == []


FREED = (errno.ECONNABORTED, errno.ENOTCONN, errno.EIO)


def test_cancelling_frees_whoever_waits_for_a_read(tmp_path: Path) -> None:
    tree = Tree({b"f": b"data"})
    session = trio.CancelScope()
    seen: list[int] = []

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        tree.hold_reads = True

        async def reader() -> None:
            seen.append(await error_of((mountpoint / "f").read_bytes))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await until(lambda: bool(tree.waiting))
            session.cancel()
        assert mounting.is_mountpoint(mountpoint)  # broken, never empty
        assert await error_of(os.listdir, mountpoint) in FREED

    channel = serve(tree, tmp_path, work, unmount=False, session=session)
    assert seen[0] in FREED
    assert channel.facts()["state"] == "ended"


def test_unmount_cuts_off_a_reader_after_a_moment(tmp_path: Path) -> None:
    tree = Tree({b"f": b"data"})
    seen: list[int] = []

    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        tree.hold_reads = True

        async def reader() -> None:
            seen.append(await error_of((mountpoint / "f").read_bytes))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await until(lambda: bool(tree.waiting))
            channel.unmount()
            channel.unmount()
            await until(lambda: not mounting.is_mountpoint(mountpoint))

    channel = serve(tree, tmp_path, work)
    assert seen and seen[0] in FREED
    assert channel.facts()["state"] == "detached"
    tree.waiting[0]([memoryview(b"late")])  # an answer that nobody wants any more


def test_unmounted_by_somebody_else(tmp_path: Path) -> None:
    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        await do(lambda: mounting.unmount(mountpoint, lazy=False))
        await until(lambda: channel.facts()["state"] == "unmounted")

    serve(Tree({}), tmp_path, work, unmount=False)


def test_descriptor_that_was_passed_in(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mounted = mounting.mount(tmp_path / "other", "oss://data", allow_other=False)

    async def work(channel: Pyfuse3Channel, _mountpoint: Path) -> None:
        assert await do((tmp_path / "other" / "f").read_bytes) == b"data"
        assert channel.facts()["mounted_by"] == "descriptor"
        await do(lambda: mounting.unmount(tmp_path / "other", lazy=False))

    serve(Tree({b"f": b"data"}), tmp_path, work, unmount=False, fuse_fd=mounted.fd)


def test_one_mount_per_process_and_again_after_it(tmp_path: Path) -> None:
    async def work(channel: Pyfuse3Channel, mountpoint: Path) -> None:
        with pytest.raises(Unsupported, match="one mount per process"):
            await Pyfuse3Channel(Tree({}), config(tmp_path)).serve(lambda: None)

    serve(Tree({}), tmp_path, work)


def test_what_it_cannot_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"open=skip.* --channel kernel"):
        Pyfuse3Channel(Tree({}), config(tmp_path, open="skip"))
    operations: Operations = Tree({})
    channel: Channel = Pyfuse3Channel(operations, config(tmp_path))
    facts = channel.facts()
    assert facts["open"] == "ask" and facts["state"] == "starting"


def test_bad_mountpoint_is_refused(tmp_path: Path) -> None:
    async def attempt() -> None:
        await Pyfuse3Channel(Tree({}), config(tmp_path / "missing")).serve(lambda: None)

    with pytest.raises(OssMountError, match="mkdir -p"):
        trio.run(attempt)
