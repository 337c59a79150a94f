"""Real mounts through the kernel channel. They need root and /dev/fuse, and fail without."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from ossmount.channel import mounting
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.config import ChannelConfig
from ossmount.errors import Changed
from ossmount.filesystem.interface import ReadDone
from tests.mount.support import device_for_all
from tests.unit.channel.memory_filesystem import MemoryFilesystem, Tree, notifications_done, sleep_a_little, writer_waits

LIMIT = 60.0  # seconds; against hangs only
T = TypeVar("T")
BIG = bytes(range(256)) * 4096 * 3  # 3 MiB: several READs
TREE: Tree = {
    b"a": {b"one": b"1" * 100, b"two": b"2" * 5000, b"empty": b""},
    b"b": {b"deep": {b"er": {b"file": b"deep down"}}},
    b"big": BIG,
    b"link": "a/one",
    "name with space é".encode(): b"odd",
}


@pytest.fixture
def mountpoint() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ossmount-test-") as directory:
        path = Path(directory, "mount")
        path.mkdir()
        try:
            yield path
        finally:
            if mounting.is_mountpoint(path):
                mounting.unmount(path, lazy=True)


@asynccontextmanager
async def mounted(operations: MemoryFilesystem, mountpoint: Path, **options: object) -> AsyncIterator[KernelChannel]:
    """Serves in this event loop; whatever touches the mount must run in a thread or a process."""
    channel = KernelChannel(operations, ChannelConfig(mountpoint, "test", **options))  # type: ignore[arg-type]
    ready, ended = trio.Event(), trio.Event()

    async def serve() -> None:
        try:
            await channel.serve(ready.set)
        finally:
            ended.set()

    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await ready.wait()
            try:
                yield channel
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LIMIT):
                    channel.unmount()
                    await ended.wait()


async def outside(call: Callable[..., T], *arguments: object) -> T:
    """Runs what touches the mount in a thread."""
    return await trio.to_thread.run_sync(call, *arguments)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT):
        while not condition():
            await trio.sleep(0.005)


@contextmanager
def process(code: str, *arguments: object, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program with default signal handlers; killed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, restore_signals=True, **options) as child:  # type: ignore[call-overload]
        try:
            yield child
        finally:
            child.kill()


@asynccontextmanager
async def program(code: str, *arguments: object) -> AsyncIterator[subprocess.Popen[bytes]]:
    """As process(), for a mount that this event loop serves: it goes on serving while the program ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, restore_signals=True)
    try:
        yield child
    finally:
        child.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LIMIT):
            await wait(child)
        assert child.stdout is not None
        child.stdout.close()


async def wait(child: subprocess.Popen[bytes]) -> int:
    await until(lambda: child.poll() is not None)
    assert child.returncode is not None
    return child.returncode


def walk(path: Path) -> dict[str, object]:
    """Everything below a path, by os.walk and lstat."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            full = os.path.join(directory, name)
            found[os.path.relpath(full, path)] = os.lstat(full).st_size
    return found


def read(path: Path) -> bytes:
    """One open, read and close, without the ioctl of Python's open()."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def code_of(call: Callable[..., object], *arguments: object) -> int:
    """The errno with which a call fails."""
    try:
        call(*arguments)
    except OSError as failure:
        assert failure.errno is not None
        return failure.errno
    return 0


@pytest.mark.parametrize("slow", [False, True])
def test_everything_reads_as_it_is(mountpoint: Path, slow: bool) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        if slow:
            operations.slow = sleep_a_little
        async with mounted(operations, mountpoint):
            found = await outside(walk, mountpoint)
            assert found == {
                "a": 0, "a/one": 100, "a/two": 5000, "a/empty": 0, "b": 0, "b/deep": 0, "b/deep/er": 0,
                "b/deep/er/file": 9, "big": len(BIG), "link": 5, "name with space é": 3,
            }  # fmt: skip
            assert await outside(read, mountpoint / "big") == BIG
            assert await outside(read, mountpoint / "link") == b"1" * 100
            assert await outside(read, mountpoint / "a/empty") == b""
            assert await outside(read, mountpoint / "b/deep/er/file") == b"deep down"
            status = await outside(os.stat, mountpoint / "a/two")
            assert (status.st_mtime_ns, status.st_mode, status.st_blocks) == (1_700_000_000_123_456_789, 0o100644, 10)
            assert await outside(os.getxattr, mountpoint / "a/one", "user.oss.etag") == b"0123456789abcdef"
            assert await outside(os.listxattr, mountpoint / "a/one") == ["user.oss.etag"]
            assert (await outside(os.statvfs, mountpoint)).f_blocks == 1 << 30

    trio.run(main)


def test_errors_are_the_ones_that_were_meant(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint) as channel:
            one = mountpoint / "a/one"
            assert await outside(code_of, read, mountpoint / "missing") == errno.ENOENT
            assert await outside(code_of, os.open, one, os.O_WRONLY) == errno.EROFS
            assert await outside(code_of, os.mkdir, mountpoint / "new") == errno.EROFS
            assert await outside(code_of, os.unlink, one) == errno.EROFS
            assert await outside(code_of, os.getxattr, one, "user.oss.none") == errno.ENODATA
            assert await outside(code_of, os.getxattr, one, "user.other") == errno.EOPNOTSUPP
            assert not channel.facts()["defects"]
            operations.failure = ZeroDivisionError("a defect")
            assert await outside(code_of, os.stat, mountpoint / "a/empty/") in (errno.EIO, errno.ENOTDIR)
            assert await outside(code_of, read, mountpoint / "b/deep") == errno.EIO
            assert "ZeroDivisionError" in caplog.text
            operations.failure = None
            assert await outside(read, one) == b"1" * 100
            assert channel.facts()["defects"]

    trio.run(main)


def test_a_second_walk_and_warm_reads_make_no_request(mountpoint: Path) -> None:
    async def main() -> None:
        async with mounted(MemoryFilesystem(TREE), mountpoint) as channel:
            first = await outside(walk, mountpoint)
            assert await outside(read, mountpoint / "a/two") == b"2" * 5000
            before = channel.requests()
            assert await outside(walk, mountpoint) == first
            for _ in range(3):
                assert await outside(read, mountpoint / "a/two") == b"2" * 5000
            assert channel.requests() == before
            assert await outside((mountpoint / "a/two").read_bytes) == b"2" * 5000
            # Python's open() asks isatty(), and nothing else is asked
            after = channel.requests()
            assert after.pop("IOCTL") - before.pop("IOCTL", 0) == 1
            assert after == before
            assert channel.facts()["open"] == "skip"
            assert after["OPEN"] == after["OPENDIR"] == 1

    trio.run(main)


def test_a_large_directory_is_listed_once_and_whole(mountpoint: Path) -> None:
    async def main() -> None:
        names = {b"file-%05d" % number: b"" for number in range(3500)}
        operations = MemoryFilesystem({b"d": names})
        async with mounted(operations, mountpoint):
            listed = await outside(os.listdir, mountpoint / "d")
            assert sorted(map(os.fsencode, listed)) == sorted(names)
            assert operations.calls["list"] <= 6  # 4 batches of 1,000 and the ends, however many READDIRs that takes

    trio.run(main)


def test_open_ask_opens_and_keeps_or_drops_the_pages(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint, open="ask") as channel:
            two = mountpoint / "a/two"
            await outside(read, two)
            reads = channel.requests()["READ"]
            await outside(read, two)
            assert channel.requests()["READ"] == reads
            operations.keep_pages = False
            await outside(read, two)
            assert channel.requests()["READ"] > reads
            assert operations.calls["open"] == channel.requests()["OPEN"] == 3
            await until(lambda: channel.requests().get("RELEASE") == 3)
            assert channel.facts()["open"] == "ask"
            await outside(walk, mountpoint)
            listed = channel.requests()["READDIRPLUS"]
            await outside(walk, mountpoint)
            assert channel.requests()["READDIRPLUS"] == listed

    trio.run(main)


def test_direct_io_reads_past_the_kernels_pages(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint, direct_io=True) as channel:
            assert await outside(read, mountpoint / "big") == BIG
            reads = channel.requests()["READ"]
            assert await outside(read, mountpoint / "big") == BIG
            assert channel.requests()["READ"] == 2 * reads
            assert channel.facts()["open_why"] == "direct_io needs OPEN"

    trio.run(main)


def test_names_that_are_missing_are_remembered_as_long_as_told(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE, negative_valid=3600)
        async with mounted(operations, mountpoint) as channel:
            for _ in range(3):
                assert await outside(code_of, os.stat, mountpoint / "missing") == errno.ENOENT
            assert operations.calls["lookup"] == 1
            operations.put(1, b"missing", b"now it is there")
            channel.invalidate_entry(1, b"missing")
            told = trio.Event()
            channel.after_invalidations(told.set)
            await told.wait()
            assert await outside(read, mountpoint / "missing") == b"now it is there"

    trio.run(main)


def test_a_replaced_name_shows_the_new_bytes_once_it_was_invalidated(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint) as channel:
            assert await outside(read, mountpoint / "a/one") == b"1" * 100
            parent = operations.names[1][b"a"]
            operations.put(parent, b"one", b"new")
            channel.invalidate_entry(parent, b"one")
            told = trio.Event()
            channel.after_invalidations(told.set)
            await told.wait()
            assert await outside(read, mountpoint / "a/one") == b"new"

    trio.run(main)


def test_a_changed_listing_is_listed_again_once_it_was_invalidated(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint) as channel:
            assert "new" not in await outside(os.listdir, mountpoint / "a")
            parent = operations.names[1][b"a"]
            operations.put(parent, b"new", b"new")
            assert "new" not in await outside(os.listdir, mountpoint / "a")  # the kernel's own listing
            channel.invalidate_node(parent)
            await until(lambda: notifications_done(channel))
            assert "new" in await outside(os.listdir, mountpoint / "a")

    trio.run(main)


def test_a_version_that_is_gone_is_seen_at_the_next_open(mountpoint: Path) -> None:
    """What the filesystem does on 412: names first, then ESTALE; without OPEN the kernel would not ask again otherwise."""

    class Gone(MemoryFilesystem):
        channel: KernelChannel

        def read(self, node: int, offset: int, size: int, done: ReadDone) -> None:
            if node != old:
                super().read(node, offset, size, done)
                return
            self.put(1, b"file", b"new version")
            self.channel.invalidate_entry(1, b"file")
            self.channel.invalidate_node(node)  # waits in the kernel for this very READ
            self.channel.after_invalidations(lambda: done(Changed("gone")))

    operations = Gone({b"file": b"old version"})
    old = operations.names[1][b"file"]

    async def main() -> None:
        async with mounted(operations, mountpoint) as channel:
            operations.channel = channel
            assert await outside(code_of, read, mountpoint / "file") == errno.ESTALE
            assert await outside(read, mountpoint / "file") == b"new version"

    trio.run(main)


def test_invalidation_waits_for_reads_and_nothing_waits_for_it(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint) as channel, trio.open_nursery() as nursery:
            results: list[bytes] = []

            async def reader() -> None:
                results.append(await outside(read, mountpoint / "a/two"))

            await outside(os.stat, mountpoint / "a/two")
            operations.hold_reads = True
            for _ in range(3):
                nursery.start_soon(reader)
            await until(lambda: bool(operations.held))
            node = operations.names[operations.names[1][b"a"]][b"two"]
            channel.invalidate_node(node)
            await until(lambda: writer_waits(channel))
            # the writer sits in the kernel, and everything else goes on: requests, and the other lane
            assert await outside(os.listdir, mountpoint / "b") == ["deep"]
            operations.put(operations.names[1][b"b"], b"fresh", b"fresh")
            channel.invalidate_entry(operations.names[1][b"b"], b"deep")
            told = trio.Event()
            channel.after_invalidations(told.set)
            await told.wait()
            assert not notifications_done(channel)
            operations.release_reads()
            await until(lambda: len(results) == 3 and notifications_done(channel))
            assert results == [b"2" * 5000] * 3

    trio.run(main)


def test_notifications_go_on_after_their_process_was_killed(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE, negative_valid=3600)
        async with mounted(operations, mountpoint) as channel:
            channel.invalidate_entry(1, b"a")
            await until(lambda: notifications_done(channel) and bool(channel.pids()))
            (pid,) = channel.pids()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: bool(channel.pids()) and channel.pids() != [pid])
            assert await outside(code_of, os.stat, mountpoint / "missing") == errno.ENOENT
            operations.put(1, b"missing", b"there")
            channel.invalidate_entry(1, b"missing")
            await until(lambda: notifications_done(channel))
            assert await outside(read, mountpoint / "missing") == b"there"

    trio.run(main)


HANDLED = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
fd = os.open(sys.argv[1], os.O_RDONLY)
print("opened", flush=True)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
data = os.pread(fd, 100, 0)
signal.setitimer(signal.ITIMER_REAL, 0)
print(data.decode(), flush=True)
"""


READ_IT = "import os,sys; print(os.read(os.open(sys.argv[1], 0), 1))"


@pytest.mark.parametrize("direct_io", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_reader_that_is_killed_ends_though_its_read_is_never_answered(
    mountpoint: Path, direct_io: bool, number: signal.Signals
) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        operations.hold_reads = True
        async with mounted(operations, mountpoint, direct_io=direct_io) as channel:
            async with program(READ_IT, mountpoint / "a/one") as child:
                await until(lambda: bool(operations.held))
                child.send_signal(number)
                assert await wait(child) == -number
            if direct_io:  # else the READ is the kernel's readahead, which nobody interrupts
                await until(lambda: not channel.facts()["waiting"])
                assert channel.requests()["INTERRUPT"] == 1
            operations.release_reads()  # late answers are no failure
            assert not channel.facts()["defects"]

    trio.run(main)


def test_a_signal_that_the_reader_handles_does_not_end_its_read(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        operations.hold_reads = True
        async with (
            mounted(operations, mountpoint, direct_io=True) as channel,
            program(HANDLED, mountpoint / "a/one") as child,
        ):
            await until(lambda: channel.requests().get("INTERRUPT", 0) > 0)
            operations.release_reads()
            assert await wait(child) == 0
            assert child.stdout is not None
            assert child.stdout.read() == b"opened\n" + b"1" * 100 + b"\n"

    trio.run(main)


def test_a_lookup_that_takes_long_ends_with_its_process(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        async with mounted(operations, mountpoint) as channel:
            operations.slow = trio.sleep_forever
            async with program("import os,sys; os.stat(sys.argv[1])", mountpoint / "b/deep/er") as child:
                await until(lambda: bool(channel.facts()["waiting"]))
                child.terminate()
                assert await wait(child) == -signal.SIGTERM
            await until(lambda: not channel.facts()["waiting"])
            operations.slow = None
            assert await outside(read, mountpoint / "b/deep/er/file") == b"deep down"

    trio.run(main)


READER = """
import os, sys
try:
    while True:
        for directory, _, files in os.walk(sys.argv[1]):
            for name in files:
                with open(os.path.join(directory, name), "rb") as file:
                    file.read()
        if not os.path.exists(os.path.join(sys.argv[1], "big")):
            break
except OSError:
    pass
"""


def test_unmount_under_load_ends_serve_and_the_readers(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE, valid=0)
        operations.slow = sleep_a_little
        async with program(READER, mountpoint) as one, program(READER, mountpoint) as two:
            async with mounted(operations, mountpoint, open="ask") as channel:
                await until(lambda: channel.requests().get("OPEN", 0) > 10)
            assert not mounting.is_mountpoint(mountpoint)
            assert await wait(one) == 0
            assert await wait(two) == 0
        assert channel.pids() == []

    trio.run(main)


def test_a_held_read_does_not_keep_unmount_from_ending(mountpoint: Path) -> None:
    async def main() -> None:
        operations = MemoryFilesystem(TREE)
        operations.hold_reads = True
        async with trio.open_nursery() as nursery:
            codes: list[int] = []

            async def reader() -> None:
                codes.append(await outside(code_of, read, mountpoint / "a/one"))

            async with mounted(operations, mountpoint) as channel:
                nursery.start_soon(reader)
                await until(lambda: bool(operations.held))
                # and a writer that waits for that READ
                channel.invalidate_node(operations.names[operations.names[1][b"a"]][b"one"])
                await until(lambda: writer_waits(channel))
        assert codes and codes[0] in (errno.ECONNABORTED, errno.ENOTCONN, errno.EIO)

    trio.run(main)


DAEMON = """
import os, sys, threading
from pathlib import Path
import trio
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.config import ChannelConfig
from tests.unit.channel.memory_filesystem import MemoryFilesystem, writer_waits
mode, mountpoint, *rest = sys.argv[1:]
operations = MemoryFilesystem({b"file": b"data" * 1000, b"other": b"other"})
fuse_fd = int(rest[0]) if rest else None
if mode == "unprivileged":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
channel = KernelChannel(operations, ChannelConfig(Path(mountpoint), "daemon", fuse_fd=fuse_fd))
async def stuck():
    while not operations.held:
        await trio.sleep(0.005)
    channel.invalidate_node(operations.names[1][b"file"])
    channel.invalidate_node(operations.names[1][b"other"])
    while not writer_waits(channel):
        await trio.sleep(0.005)
    print("stuck", channel.pids()[0], flush=True)
async def main():
    async with trio.open_nursery() as nursery:
        if mode == "stuck":
            operations.hold_reads = True
            nursery.start_soon(stuck)
        await channel.serve(lambda: print("ready", flush=True))
        print(channel.facts()["state"], flush=True)
        nursery.cancel_scope.cancel()
trio.run(main)
"""


def line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().decode().strip()


def repository() -> Path:
    return Path(__file__).parents[2]


def test_a_daemon_killed_while_its_writer_waits_frees_the_readers(mountpoint: Path) -> None:
    """The worst moment: the writer waits for a READ that the daemon has, and will wait for one that nobody has read yet."""
    with process(DAEMON, "stuck", mountpoint, cwd=repository()) as daemon:
        assert line(daemon) == "ready"
        with process(LATE, mountpoint / "other", stdin=subprocess.PIPE) as late:
            assert line(late) == "opened"
            with process(LATE, mountpoint / "file", stdin=subprocess.PIPE) as reader:
                tell(reader)
                word, pid = line(daemon).split()
                assert word == "stuck"
                daemon.send_signal(signal.SIGSTOP)
                tell(late)
                until_it_waits_for_fuse(late)
                daemon.kill()
                assert line(reader) == "opened"
                for child in (reader, late):
                    assert child.wait(LIMIT) == 0
                    assert int(line(child)) in (errno.ECONNABORTED, errno.ENOTCONN, errno.EIO)
        daemon.wait(LIMIT)
        trio.run(until, lambda: not alive(int(pid)))
        assert code_of(os.listdir, mountpoint) == errno.ENOTCONN  # broken, never empty
        mounting.unmount(mountpoint, lazy=False)


LATE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("opened", flush=True)
sys.stdin.readline()
try:
    os.read(fd, 9)
except OSError as failure:
    print(failure.errno)
"""


def tell(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()


def until_it_waits_for_fuse(child: subprocess.Popen[bytes]) -> None:
    """Gives it the time to get there. Nothing is asserted of it: a machine may not show where its processes wait."""
    for _ in range(400):
        waits_in = Path(f"/proc/{child.pid}/wchan").read_text()
        if "folio" in waits_in or "fuse" in waits_in or "request_wait" in waits_in:
            return
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process is neither gone nor a zombie that nobody reaps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_ordinary_user_mounts_through_fusermount3() -> None:
    with device_for_all(), tempfile.TemporaryDirectory(prefix="ossmount-test-", dir="/tmp") as directory:
        mountpoint = Path(directory, "mount")
        mountpoint.mkdir()
        os.chown(directory, 65534, 65534)
        os.chown(mountpoint, 65534, 65534)
        try:
            with process(DAEMON, "unprivileged", mountpoint, cwd=repository()) as daemon:
                assert line(daemon) == "ready"
                mount = mounting.find_mount(mounting.resolve(mountpoint))
                assert mount is not None and (mount.kind, mount.source) == ("fuse.ossmount", "daemon")
                # root may not look into another user's mount
                as_nobody = "import os,sys; os.setgid(65534); os.setuid(65534); print(open(sys.argv[1]).read(4))"
                with process(as_nobody, mountpoint / "file") as reader:
                    assert reader.wait(LIMIT) == 0
                    assert line(reader) == "data"
                mounting.unmount(mountpoint, lazy=False)
                assert line(daemon) == "unmounted"
                assert daemon.wait(LIMIT) == 0
        finally:
            if mounting.is_mountpoint(mountpoint):
                mounting.unmount(mountpoint, lazy=True)


def test_a_descriptor_passed_in_is_served_without_privilege(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint, "passed", allow_other=True)
    try:
        with process(DAEMON, "unprivileged", mountpoint, made.fd, cwd=repository(), pass_fds=(made.fd,)) as daemon:
            os.close(made.fd)
            assert line(daemon) == "ready"
            with process("import sys; print(open(sys.argv[1]).read(4))", mountpoint / "file") as reader:
                assert reader.wait(LIMIT) == 0
                assert line(reader) == "data"
            mounting.unmount(mountpoint, lazy=False)
            assert line(daemon) == "unmounted"
            assert daemon.wait(LIMIT) == 0
    finally:
        if mounting.is_mountpoint(mountpoint):
            mounting.unmount(mountpoint, lazy=True)


def test_the_mount_is_read_only_and_checks_permissions(mountpoint: Path) -> None:
    async def main() -> None:
        async with mounted(MemoryFilesystem(TREE), mountpoint):
            info = Path("/proc/self/mountinfo").read_text()
            options = next(line for line in info.splitlines() if f" {mountpoint} " in line)
            assert " ro,nosuid,nodev" in options
            assert "default_permissions" in options

    trio.run(main)
