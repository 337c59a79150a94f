"""The network, the store or its name goes away in the middle of a read; of disks see test_hanging_disk.

Readers get an errno once the deadline has passed, can be killed before, read on when all is well again, and the mount can be
taken away at any time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.emulator.server import EmulatedServer
from tests.mount.disks import sh
from tests.mount.support import BUCKET, LIMIT, Workshop, eventually

SIZE = 64 << 20  # twice what the mount may keep in memory
DATA = random.Random(5).randbytes(1 << 20) * (SIZE >> 20)
ERRORS = {errno.ETIMEDOUT, errno.EIO}

#: Reads the first bytes and says so; what follows once it is told to. Prints how it ended.
READER = """
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
os.read(file, 4096)
print("begun", flush=True)
sys.stdin.readline()
try:
    while os.read(file, 1 << 20):
        pass
    print("end")
except OSError as failure:
    print(failure.errno)
"""


@dataclass
class World:
    """A mount, and what can be taken from it."""

    shop: Workshop
    path: Path
    words: Sequence[str]  # before every command: where it runs
    breaks: Callable[[], None]
    heals: Callable[[], None]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = [*self.words, *self.shop.words(arguments)]
        return subprocess.run(words, env=self.shop.environment, capture_output=True, text=True, timeout=2 * LIMIT, check=False)

    @contextlib.contextmanager
    def reader(self) -> Iterator[subprocess.Popen[str]]:
        words = [*self.words, sys.executable, "-I", "-c", READER, str(self.path / "file")]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            try:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "begun\n"
                yield reader
            finally:
                reader.kill()


def goes_on(reader: subprocess.Popen[str]) -> None:
    assert reader.stdin is not None
    reader.stdin.write("go\n")
    reader.stdin.flush()


def reads_to_the_end(world: World) -> bool:
    done = subprocess.run([*world.words, "cat", str(world.path / "file")], capture_output=True, timeout=LIMIT, check=False)
    assert DATA.startswith(done.stdout)
    return done.returncode == 0 and len(done.stdout) == SIZE


def check(world: World) -> None:
    """All of it: an errno, a reader that is killed, the way back, and the end while it is broken."""
    with world.reader() as reader, world.reader() as killed:
        world.breaks()
        goes_on(killed)
        killed.send_signal(signal.SIGTERM)
        killed.wait(LIMIT)
        assert killed.returncode == -signal.SIGTERM
        output, _ = reader.communicate("go\n", timeout=LIMIT)
        assert int(output) in ERRORS
    assert world.run("status", str(world.path)).returncode == 0
    world.heals()
    eventually(lambda: reads_to_the_end(world), "the way back is found")  # a failure is remembered for 2 s
    with world.reader() as reader:
        world.breaks()
        goes_on(reader)
        assert world.run("umount", "--force", str(world.path)).returncode == 0
        output, _ = reader.communicate(timeout=LIMIT)
        assert int(output) not in (0, errno.EACCES)


@contextlib.contextmanager
def server(folder: Path, words: Sequence[str], host: str) -> Iterator[tuple[int, str]]:
    """A server in a process of its own: its pid and URL."""
    with EmulatedServer(folder) as made:
        made.store.create_bucket(BUCKET)
        made.store.put(BUCKET, b"file", DATA)
    command = [sys.executable, "-m", "ossmount", "serve", str(folder), "--host", host, "--port", "0"]
    with subprocess.Popen([*words, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield process.pid, found[0]
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@contextlib.contextmanager
def mounted(
    shop: Workshop, url: str, words: Sequence[str], breaks: Callable[[], None], heals: Callable[[], None], timeout: int = 1
) -> Iterator[World]:
    shop.environment |= {"OSSMOUNT_ENDPOINT": url, "OSSMOUNT_TIMEOUT": f"{timeout}", "OSSMOUNT_CONNECT_TIMEOUT": "2"}
    world = World(shop, shop.mountpoint(), words, breaks, heals)
    try:
        done = world.run("mount", f"oss://{BUCKET}", str(world.path), "-o", "attr_timeout=1h,entry_timeout=1h", "--path-style")
        assert done.returncode == 0, done.stderr
        yield world
    except BaseException:
        print(f"The daemon's log:\n{shop.log(world.path)}")
        raise
    finally:
        world.run("umount", "--force", str(world.path))


def test_a_server_that_is_frozen(plain_shop: Workshop) -> None:
    with server(plain_shop.folder / "frozen", (), "127.0.0.1") as (pid, url):
        freeze, thaw = partial(os.kill, pid, signal.SIGSTOP), partial(os.kill, pid, signal.SIGCONT)
        with mounted(plain_shop, url, (), freeze, thaw) as world:
            check(world)
            assert find_mount(str(world.path)) is None


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_server_that_is_frozen_for_90_seconds(plain_shop: Workshop) -> None:
    """Longer than the deadline, and than the keeper waits for a daemon: the same daemon serves behind it."""
    deadline = 30
    with server(plain_shop.folder / "frozen", (), "127.0.0.1") as (pid, url):
        freeze, thaw = partial(os.kill, pid, signal.SIGSTOP), partial(os.kill, pid, signal.SIGCONT)
        with mounted(plain_shop, url, (), freeze, thaw, deadline) as world:
            before = json.loads(world.run("status", str(world.path), "--json").stdout)["pids"]
            with world.reader() as reader, world.reader() as killed:
                freeze()
                begin = time.monotonic()
                goes_on(killed)
                output, _ = reader.communicate("go\n", timeout=deadline + LIMIT)
                assert int(output) in ERRORS
                assert time.monotonic() - begin < 2 * deadline
                killed.send_signal(signal.SIGTERM)
                killed.wait(LIMIT)
            time.sleep(max(0.0, begin + 90 - time.monotonic()))
            assert json.loads(world.run("status", str(world.path), "--json").stdout)["pids"] == before
            thaw()
            eventually(lambda: reads_to_the_end(world), "the way back is found")
            freeze()
            assert world.run("umount", str(world.path)).returncode == 0
            assert find_mount(str(world.path)) is None


@pytest.mark.stress
@pytest.mark.parametrize("how", ["cable", "address"])
def test_a_network_that_is_torn_away(plain_shop: Workshop, how: str) -> None:
    """The server lives in a network namespace; its cable is unplugged, or it moves to another address."""
    number = os.getpid() % 60000
    space, ours, theirs = f"ossmount-{number}", f"osm{number}a", f"osm{number}b"
    net = f"10.{200 + number % 50}.{number // 256 % 256}"
    sh("ip", "netns", "add", space)
    try:
        sh("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", space)
        sh("ip", "addr", "add", f"{net}.1/24", "dev", ours)
        sh("ip", "link", "set", ours, "up")
        sh("ip", "-n", space, "addr", "add", f"{net}.2/24", "dev", theirs)
        sh("ip", "-n", space, "link", "set", theirs, "up")

        def breaks() -> None:
            if how == "cable":
                sh("ip", "link", "set", ours, "down")
            else:
                sh("ip", "-n", space, "addr", "del", f"{net}.2/24", "dev", theirs)

        def heals() -> None:
            if how == "cable":
                sh("ip", "link", "set", ours, "up")
            else:
                sh("ip", "-n", space, "addr", "add", f"{net}.2/24", "dev", theirs)

        with (
            server(plain_shop.folder / "torn", ("ip", "netns", "exec", space), f"{net}.2") as (_, url),
            mounted(plain_shop, url, (), breaks, heals) as world,
        ):
            check(world)
            assert find_mount(str(world.path)) is None
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, timeout=LIMIT)
        sh("ip", "netns", "del", space)


@pytest.mark.stress
def test_a_name_that_is_not_resolved_any_more(plain_shop: Workshop) -> None:
    """In a mount namespace of its own, whose /etc/hosts is the test's. The fetch processes, which know it still, are killed."""
    hosts = plain_shop.folder / "hosts"
    named = "127.0.0.1 localhost\n127.0.0.1 store.test\n"
    hosts.write_text(named)
    resolv = plain_shop.folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && echo there && exec sleep 1000'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(hosts), str(resolv)], stdout=subprocess.PIPE, text=True
    ) as space:
        try:
            assert space.stdout is not None
            assert space.stdout.readline() == "there\n"
            inside = ("nsenter", f"--mount=/proc/{space.pid}/ns/mnt")
            with server(plain_shop.folder / "named", (), "127.0.0.1") as (_, url):
                port = int(url.rpartition(":")[2])

                def breaks() -> None:
                    hosts.write_text("127.0.0.1 localhost\n")
                    for fetch in json.loads(world.run("status", str(world.path), "--json").stdout)["fetch_pids"]:
                        os.kill(fetch, signal.SIGKILL)

                def heals() -> None:
                    hosts.write_text(named)

                with mounted(plain_shop, f"http://store.test:{port}", inside, breaks, heals) as world:
                    check(world)
        finally:
            space.kill()
