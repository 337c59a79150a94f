"""One connection, two daemons one after the other: the channel against the real kernel, without a keeper's process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ossmount.channel import mounting
from ossmount.control.registry import process_start
from ossmount.keeper import kernel
from tests.mount.support import LIMIT, ROOT, eventually

#: usage: MOUNTPOINT DEVICE ALIVE AGREEMENT MODE; prints what INIT agreed, and what becomes of its writer
DAEMON = """
import json, os, sys
from pathlib import Path
import trio
from ossmount.channel.interface import Taken
from ossmount.channel.kernel_channel import init
from ossmount.channel.kernel_channel.channel import KernelChannel
from ossmount.channel.kernel_channel.protocol import Init
from ossmount.config import ChannelConfig
from tests.unit.channel.memory_filesystem import MemoryFilesystem, writer_waits
mountpoint, device, alive, agreement, mode = sys.argv[1:]
class Keeper:
    journal, alive, mounter = os.memfd_create("journal"), int(alive), None
    def taken(self):
        return Taken(int(device), json.loads(agreement), True) if agreement else None
    def keep(self, fd, agreed):
        print(json.dumps(agreed), flush=True)
    def left(self): ...
    def end(self): ...
operations = MemoryFilesystem({b"file": b"data" * 1000, b"other": b"other"})
operations.hold_reads = "hold" in mode
if "old kernel" in mode:
    negotiate = init.negotiate
    init.negotiate = lambda offer, config: negotiate(offer._replace(flags=offer.flags & ~Init.HAS_RESEND), config)
fuse_fd = None if agreement else int(device)
channel = KernelChannel(operations, ChannelConfig(Path(mountpoint), "daemon", fuse_fd=fuse_fd), Keeper())
async def write():
    while not operations.held:
        await trio.sleep(0.005)
    channel.invalidate_node(operations.names[1][b"file"])
    while not writer_waits(channel):
        await trio.sleep(0.005)
    print("writer", channel.pids()[0], flush=True)
async def main():
    async with trio.open_nursery() as nursery:
        if operations.hold_reads:
            nursery.start_soon(write)
        await channel.serve(lambda: print("ready", flush=True))
        nursery.cancel_scope.cancel()
trio.run(main)
"""

#: Opens first and reads when it is told to; prints the bytes or the errno.
READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("opened", flush=True)
sys.stdin.readline()
try:
    print(len(os.read(fd, 1 << 20)))
except OSError as failure:
    print(-failure.errno)
"""


class Connection:
    """A mount whose device the test holds, as a keeper does."""

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self.device = mounting.mount(mountpoint, "test", allow_other=True).fd
        self.alive = os.pipe()

    def end(self) -> None:
        """As when keeper and daemon are dead: nobody waits for an answer any more. Idempotent."""
        for descriptor in (self.device, *self.alive) if self.device >= 0 else ():
            os.close(descriptor)
        self.device = -1

    @contextmanager
    def daemon(self, agreement: str, mode: str) -> Iterator[subprocess.Popen[str]]:
        """With its end nobody is told anything: it is killed."""
        numbers = (self.device, self.alive[0])
        words = [sys.executable, "-c", DAEMON, str(self.mountpoint), *map(str, numbers), agreement, mode]
        with subprocess.Popen(words, pass_fds=numbers, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def reader(self, name: str) -> Iterator[subprocess.Popen[str]]:
        words = [sys.executable, "-I", "-c", READER, str(self.mountpoint / name)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            except BaseException:
                self.end()  # else it might wait for ever
                raise
            finally:
                process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def until_it_waits(process: subprocess.Popen[str]) -> None:
    """Gives it the time to get there. Nothing is asserted of it: a machine may not show where its processes wait."""
    for _ in range(400):
        waits_in = Path(f"/proc/{process.pid}/wchan").read_text()
        if "folio" in waits_in or "fuse" in waits_in or "request_wait" in waits_in:
            return
        time.sleep(0.005)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="ossmount-test-", dir="/tmp") as directory:
        mountpoint = Path(directory, "mount")
        mountpoint.mkdir()
        made = Connection(mountpoint)
        try:
            yield made
        finally:
            mounting.unmount(mountpoint, lazy=True)
            made.end()


def test_a_writer_that_waits_when_its_daemon_dies_refuses_nobody(connection: Connection) -> None:
    """It waits for a READ in hand. Neither that one nor one that nobody has read yet may fail: another daemon comes."""
    with connection.daemon("", "hold") as first, connection.reader("other") as late:
        agreement = line(first)
        assert line(first) == "ready"
        assert line(late) == "opened"
        with connection.reader("file") as early:
            assert line(early) == "opened"
            tell(early)
            word, writer = line(first).split()
            assert word == "writer"
            first.send_signal(signal.SIGSTOP)
            tell(late)
            until_it_waits(late)
            first.kill()
            first.wait(LIMIT)
            time.sleep(0.2)  # a writer that refused requests would do it now
            assert kernel.resend(connection.device)
            with connection.daemon(agreement, "") as second:
                assert line(second) == "ready"
                assert (line(early), line(late)) == ("4000", "5")
                assert (early.wait(LIMIT), late.wait(LIMIT)) == (0, 0)  # closing is a request as well
                eventually(lambda: process_start(int(writer)) is None, "the writer is free and has ended")


def test_without_daemon_and_keeper_a_waiting_writer_refuses_all(connection: Connection) -> None:
    with connection.daemon("", "hold") as first, connection.reader("file") as early:
        line(first)
        assert line(first) == "ready"
        assert line(early) == "opened"
        tell(early)
        word, writer = line(first).split()
        assert word == "writer"
        first.kill()
        connection.end()
        assert int(line(early)) in (-errno.ECONNABORTED, -errno.ENOTCONN, -errno.EIO)
        eventually(lambda: process_start(int(writer)) is None, "the writer is free and has ended")


def test_a_kernel_that_sends_nothing_again_fails_what_was_in_hand_and_goes_on(connection: Connection) -> None:
    with connection.daemon("", "old kernel, hold") as first, connection.reader("file") as early:
        agreement = line(first)
        assert line(first) == "ready"
        assert line(early) == "opened"
        tell(early)
        assert line(first).startswith("writer")
        first.kill()
        first.wait(LIMIT)
        with connection.daemon(agreement, "old kernel") as second:
            assert line(second) == "ready"
            # The READ in hand, which no daemon ever sees again, has failed; the kernel asks for the page once more by itself.
            assert line(early) == "4000"
            assert early.wait(LIMIT) == 0  # closing is a request as well
