"""A disk that answers nothing any more, under the cache or under the metadata: reads, not only writes."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from ossmount.channel.mounting import find_mount
from ossmount.control.registry import process_start
from tests.mount.disks import disk, sh
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually

SIZE = 40 << 20  # bytes; more than the mount may keep in memory
DATA = random.Random(5).randbytes(1 << 20) * (SIZE >> 20)
OBJECTS = {"large": DATA, "small": DATA[:50_000]}
TIMEOUT = 9.0  # seconds; a third of it, and a read from the disk counts as hanging


def read(mount: Mount, name: str) -> bytes:
    """Not out of the kernel's page cache."""
    with open(mount.path / name, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(iter(lambda: file.read(1 << 20), b""))


def ends(pids: list[int]) -> None:
    eventually(lambda: all(process_start(pid) is None for pid in pids), "every process has ended")


@pytest.mark.stress
def test_a_cache_disk_that_hangs_while_it_is_read(plain_shop: Workshop) -> None:
    """Its readers get the bytes from OSS within the deadline; the daemon goes on."""
    shop = plain_shop
    for name, data in OBJECTS.items():
        shop.server.store.put(BUCKET, name.encode(), data)
    with disk(shop.folder, 300 << 20) as under:
        options = ["--cache-dir", str(under.path / "cache"), "--cache-free-space", "0", "--timeout", f"{TIMEOUT:g}"]
        with shop.mounted(*options) as mount:
            for name, data in OBJECTS.items():
                assert read(mount, name) == data
            eventually(lambda: not mount.status()["facts"]["disk"]["writing"], "all is written")
            pids: list[int] = mount.status()["pids"]
            under.forget()
            with under.hanging(pids):
                for name in (*OBJECTS, *OBJECTS):
                    begin = time.monotonic()
                    assert read(mount, name) == OBJECTS[name]
                    assert time.monotonic() - begin < 2 * TIMEOUT
                status = mount.status()
                assert status["pids"][:2] == pids[:2]  # the keeper and the daemon
                (directory,) = status["facts"]["disk"]["directories"].values()
                assert (directory["state"], directory["problem"]) == ("off", "it is too slow")
                pids += status["pids"]
                assert shop.run("umount", str(mount.path)).returncode == 0
                assert find_mount(str(mount.path)) is None
            ends(pids)


@pytest.mark.stress
def test_a_cache_disk_that_is_frozen(plain_shop: Workshop) -> None:
    """Nobody can write to it, nor create a file there: OSS is read, and the mount can be taken away and made again."""
    shop = plain_shop
    shop.server.store.put(BUCKET, b"large", DATA)
    shop.server.store.put(BUCKET, b"other", DATA)
    with (
        disk(shop.folder, 200 << 20) as under,
        shop.mounted("--cache-dir", str(under.path / "cache"), "--cache-free-space", "0") as mount,
    ):
        pids: list[int] = mount.status()["pids"]
        assert read(mount, "large") == DATA
        sh("fsfreeze", "--freeze", str(under.path))
        thaw = threading.Timer(4 * LIMIT, sh, ("fsfreeze", "--unfreeze", str(under.path)))  # should the test hang
        thaw.start()
        try:
            assert read(mount, "other") == read(mount, "large") == DATA
            assert shop.run("umount", str(mount.path)).returncode == 0
            assert find_mount(str(mount.path)) is None
            eventually(lambda: process_start(pids[0]) is None, "the daemon ends while its disk is frozen")
        finally:
            thaw.cancel()
            sh("fsfreeze", "--unfreeze", str(under.path))
        ends(pids)


@pytest.mark.stress
def test_a_metadata_disk_that_hangs(plain_shop: Workshop) -> None:
    """What is known and what is new is answered; the mountpoint is free at once, and the daemon ends when the disk lets it."""
    shop = plain_shop
    for folder in ("known", "new", "newer"):
        for number in range(50):
            shop.server.store.put(BUCKET, f"{folder}/{number}".encode(), b"x" * number)
    with disk(shop.folder, 300 << 20) as under:
        (under.path / "metadata").mkdir(mode=0o700)
        options = ["--metadata-dir", str(under.path / "metadata"), "-o", "attr_timeout=1,entry_timeout=1"]
        with shop.mounted(*options) as mount:
            assert len(os.listdir(mount.path / "known")) == 50
            pids: list[int] = mount.status()["pids"]
            under.forget()
            with under.hanging(pids):
                deadline = time.monotonic() + 15.0  # the keeper takes a daemon for stuck after 10 s
                number = 0
                while time.monotonic() < deadline:
                    number = number % 49 + 1
                    assert (mount.path / f"new/{number}").stat().st_size == number
                    assert (mount.path / f"known/{number}").read_bytes() == b"x" * number
                    assert len(os.listdir(mount.path / "newer")) == 50
                    time.sleep(0.5)
                assert mount.status()["pids"] == pids
                assert shop.run("umount", str(mount.path)).returncode == 0
                assert find_mount(str(mount.path)) is None
            ends(pids)
