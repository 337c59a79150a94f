"""Files that the kernel reads by itself from the cache on local disks."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount import passthrough_reader
from tests.mount.keeper_reader import content
from tests.mount.support import BUCKET, LIMIT, Mount, Workshop, eventually
from tests.mount.test_keeper import another_daemon

MIB = 1 << 20
SIZE = 6 * MIB + 77
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def options(cache: Path, *more: str) -> list[str]:
    """So much memory that nothing is left unwritten for want of it."""
    return ["--cache-dir", str(cache), "--cache-free-space", "0", "--memory-limit", "128M", "--passthrough", *more]


def put(shop: Workshop, name: str, size: int = SIZE) -> bytes:
    data = content(name, 0, size)
    shop.server.store.put(BUCKET, name.encode(), data)
    return data


def facts(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = mount.status()["facts"]["channel"]["passthrough"]
    return found


def reads(mount: Mount) -> int:
    """READs that the daemon has had."""
    return int(mount.status()["counters"]["kernel"].get("READ", 0))


def copies(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = mount.status()["facts"]["disk"]["copies"]
    return found


def complete(mount: Mount, name: str, *, whole: int = 1) -> None:
    """Reads a file once, and waits until its copy is whole and verified."""
    (mount.path / name).read_bytes()
    eventually(lambda: copies(mount)["whole"] >= whole, "the copy is whole")


def cache_file(cache: Path, suffix: str = ".data") -> Path:
    (found,) = cache.glob(f"ossmount-1/??/*{suffix}")
    return found


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_all(descriptor: int, size: int = SIZE) -> bytes:
    return b"".join(os.pread(descriptor, MIB, at) for at in range(0, size + MIB, MIB))


def mapped(descriptor: int) -> ctypes.Array[ctypes.c_char]:
    """A mapping of SIZE bytes. One of the module mmap keeps a descriptor of its own."""
    address = LIBC.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    return (ctypes.c_char * SIZE).from_address(address)


def unmap(view: ctypes.Array[ctypes.c_char]) -> None:
    assert LIBC.munmap(ctypes.byref(view), ctypes.c_size_t(SIZE)) == 0


@pytest.mark.option("passthrough")
def test_a_whole_copy_is_read_without_us(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        before = reads(mount)
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"] == {"passthrough": 1, "cached": 0}
            assert read_all(descriptor) == data
            assert os.pread(descriptor, 100, SIZE) == b"" and os.pread(descriptor, 100, SIZE - 7) == data[-7:]
        assert reads(mount) == before
        eventually(lambda: facts(mount)["open_files"] == {"passthrough": 0, "cached": 0}, "it is released")
        assert facts(mount)["state"] == "on" and facts(mount)["opens"]["passthrough"] == 1
        assert mount.status()["facts"]["channel"]["open_why"] == "passthrough needs OPEN"


def test_a_mapping_is_one_of_the_local_file_and_outlives_the_descriptor(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        before = reads(mount)
        with opened(mount.path / "large") as descriptor:
            view = mapped(descriptor)
        eventually(lambda: facts(mount)["open_files"]["passthrough"] == 0, "it is released")
        assert view.raw == data
        with opened(mount.path / "large") as descriptor:  # beside the mapping
            assert read_all(descriptor) == data
        done = shop.run("cache", "clear", "--cache-dir", str(cache))
        assert done.returncode == 0, done.stderr
        assert (mount.path / "large").read_bytes() == data  # by way of the mount's page cache, beside the mapping
        assert view.raw == data
        unmap(view)
        assert reads(mount) > before


def test_it_changes_to_passthrough_after_the_last_close(plain_shop: Workshop) -> None:
    """Also a mapping of the mount's page cache keeps the inode as it is."""
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        with opened(mount.path / "large") as first:
            assert read_all(first) == data
            eventually(lambda: copies(mount)["whole"] == 1, "the copy is whole")
            with opened(mount.path / "large") as second:
                assert facts(mount)["open_files"] == {"passthrough": 0, "cached": 1}
                view = mmap.mmap(second, 0, prot=mmap.PROT_READ)
        with opened(mount.path / "large") as third:
            assert read_all(third) == data
        assert facts(mount)["opens"]["passthrough"] == 0
        assert view[:] == data
        view.close()

        def is_passthrough() -> bool:
            with opened(mount.path / "large") as descriptor:
                assert os.pread(descriptor, 100, 4096) == data[4096:4196]
            return bool(facts(mount)["opens"]["passthrough"])

        eventually(is_passthrough, "the kernel has released the mapping")


def test_readers_with_o_direct_beside_others(plain_shop: Workshop) -> None:
    """A disk wants aligned offsets and lengths; a file of the mount never did."""
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        path = mount.path / "large"
        with opened(path) as ordinary, opened(path, os.O_RDONLY | os.O_DIRECT) as direct:
            assert os.pread(direct, 1001, 77) == data[77:1078]
            assert read_all(ordinary) == data
        with opened(path, os.O_RDONLY | os.O_DIRECT) as direct:
            assert os.pread(direct, 1001, 77) == data[77:1078]


def test_small_files_are_read_as_ever(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    small = {name: put(shop, name, size) for name, size in (("one", 1), ("page", 4096), ("mib", MIB), ("empty", 0))}
    large = put(shop, "large", MIB + 1)
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        for _ in range(2):
            for name, data in {**small, "large": large}.items():
                assert (mount.path / name).read_bytes() == data
        assert facts(mount)["opens"] == {"passthrough": 2, "cached": 1}


# -- versions and damage


def test_a_changed_object_is_never_read_from_its_old_copy(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    old = put(shop, "large")
    with shop.mounted(*options(cache, "--attr-timeout", "0", "--entry-timeout", "0")) as mount:
        complete(mount, "large")
        with opened(mount.path / "large") as descriptor:
            new = bytes(reversed(old))
            shop.server.store.put(BUCKET, b"large", new)
            eventually(lambda: (mount.path / "large").read_bytes() == new, "the new version is seen")
            assert read_all(descriptor) == old, "who has it open reads the version that was opened"
        eventually(lambda: copies(mount)["whole"] == 2, "the new version is whole")
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"]["passthrough"] == 1
            assert read_all(descriptor) == new


def test_a_copy_that_was_tampered_with_while_nobody_served_is_found(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
    path = cache_file(cache)
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"not what OSS has")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with shop.mounted(*options(cache)) as mount:
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"] == {"passthrough": 0, "cached": 1}
            assert read_all(descriptor) == data
        eventually(lambda: copies(mount)["whole"] == 1, "it is whole again")
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"] == {"passthrough": 1, "cached": 0}
            assert read_all(descriptor) == data


@pytest.fixture
def small_disk(plain_shop: Workshop) -> Iterator[Path]:
    """An ext4 file system of 40 MiB."""
    image, path = plain_shop.folder / "image", plain_shop.folder / "disk"
    path.mkdir()
    with open(image, "wb") as file:
        file.truncate(40 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True, timeout=LIMIT)
    subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True, timeout=LIMIT)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=LIMIT)


def test_eviction_leaves_the_files_of_readers_alone(plain_shop: Workshop, small_disk: Path) -> None:
    shop = plain_shop
    names = [f"large{number}" for number in range(8)]
    data = {name: put(shop, name) for name in names}
    with shop.mounted(*options(small_disk / "cache", "--cache-size", "24M")) as mount:
        complete(mount, names[0])
        with opened(mount.path / names[0]) as descriptor:
            assert facts(mount)["open_files"]["passthrough"] == 1
            view = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            kept = cache_file(small_disk / "cache")

            def evicted() -> bool:
                for name in names[1:]:
                    assert (mount.path / name).read_bytes() == data[name]
                    assert read_all(descriptor) == data[names[0]]
                    eventually(lambda: not mount.status()["facts"]["disk"]["writing"], "it is written")
                state = mount.status()["facts"]["disk"]["directories"][str(small_disk / "cache")]
                return bool(state.get("evicted", 0) >= 1)

            eventually(evicted, "others are dropped")
            assert view[:] == data[names[0]]
            assert kept.exists()
            view.close()
        assert "No space left" not in mount.log


# -- daemons that die


@contextlib.contextmanager
def readers(mount: Mount, names: list[str]) -> Iterator[list[tuple[int, bytes]]]:
    """Processes that read and map each of the files over and over; the status and output with which each ended."""
    ended: list[tuple[int, bytes]] = []
    processes = [
        subprocess.Popen(
            [sys.executable, "-I", passthrough_reader.__file__, how, str(mount.path / name), str(SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in names
        for how in ("open", "keep", "map")
    ]
    try:
        yield ended
        for process in processes:
            output, _ = process.communicate(b"end", timeout=LIMIT)
            ended.append((process.returncode, output))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _numbers(mount: Mount) -> tuple[int, int]:
    found = facts(mount)["open_files"]
    return found["passthrough"], found["cached"]


def kill_under_readers(shop: Workshop, times: int) -> None:
    """One file in passthrough and one through the cache, both held open, mapped, and opened anew all the time."""
    cache = shop.folder / "cache"
    put(shop, "direct")
    put(shop, "cached")
    with shop.mounted(*options(cache)) as mount:
        with opened(mount.path / "cached") as cached:
            complete(mount, "direct")
            with opened(mount.path / "direct") as direct, readers(mount, ["direct", "cached"]) as ended:
                pids = [another_daemon(mount)]
                for _ in range(times):
                    eventually(lambda: reads(mount) > 5, "the daemon serves readers")
                    assert _numbers(mount) == (1, 1)
                    os.kill(pids[-1], signal.SIGKILL)
                    pids.append(another_daemon(mount, *pids))
                assert read_all(direct) == content("direct", 0, SIZE)
                assert read_all(cached) == content("cached", 0, SIZE)
            assert [code for code, _ in ended] == [0] * 6, ended
        assert mount.status()["facts"]["keeper"]["deaths"] == times
        eventually(lambda: _numbers(mount) == (0, 0), "all are released")
        with opened(mount.path / "direct") as descriptor:
            assert _numbers(mount) == (1, 0)
            assert hashlib.sha256(read_all(descriptor)).digest() == hashlib.sha256(content("direct", 0, SIZE)).digest()


def test_readers_notice_nothing_of_daemons_that_are_killed(plain_shop: Workshop) -> None:
    kill_under_readers(plain_shop, 3)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_thirty_kills_under_readers_of_both_kinds(plain_shop: Workshop) -> None:
    kill_under_readers(plain_shop, 30)


def test_another_keeper_knows_the_files_that_are_open(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        with opened(mount.path / "large") as first:
            keeper = int(mount.status()["keeper_pid"])
            os.kill(keeper, signal.SIGKILL)
            eventually(lambda: mount.status()["keeper_pid"] != keeper, "there is another keeper")
            os.kill(another_daemon(mount), signal.SIGKILL)
            another_daemon(mount, keeper)
            with opened(mount.path / "large") as second:
                assert _numbers(mount) == (1, 0)
                assert read_all(first) == read_all(second) == data
        eventually(lambda: _numbers(mount) == (0, 0), "all are released")
        with opened(mount.path / "large") as third:
            assert _numbers(mount) == (1, 0) and read_all(third) == data


def test_a_restart_goes_on_with_what_is_open(plain_shop: Workshop) -> None:
    """Also one with another folder for the cache, where nothing lies yet."""
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache)) as mount:
        complete(mount, "large")
        with opened(mount.path / "large") as first:
            done = shop.run("restart", str(mount.path), "--cache-dir", str(shop.folder / "other"))
            assert done.returncode == 0, done.stderr
            with opened(mount.path / "large") as second:
                assert _numbers(mount) == (1, 0)
                assert read_all(first) == read_all(second) == data
        eventually(lambda: _numbers(mount) == (0, 0), "all are released")
        with opened(mount.path / "large") as third:
            assert _numbers(mount) == (0, 1) and read_all(third) == data
        done = shop.run("restart", str(mount.path), "--verify", "full")
        assert done.returncode == 0, done.stderr
        facts = mount.status()["facts"]["channel"]["passthrough"]
        assert facts["state"] == "off" and "--verify full" in facts["why"]
        done = shop.run("restart", str(mount.path), "-o", "passthrough=false")
        assert done.returncode != 0 and "passthrough cannot change" in done.stderr


# -- where it cannot be


@pytest.mark.parametrize(
    ("cached", "more", "why"),
    [
        (True, ["--channel", "pyfuse3"], "pyfuse3 channel cannot"),
        (False, ["--passthrough"], "no cache on a local disk"),
    ],
)
def test_where_it_cannot_be_status_says_why(plain_shop: Workshop, cached: bool, more: list[str], why: str) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*(options(cache) if cached else []), *more) as mount:
        for _ in range(2):
            assert (mount.path / "large").read_bytes() == data
        assert facts(mount)["state"] == "off" and why in facts(mount)["why"]


def test_without_a_keeper_the_daemon_does_it_itself(plain_shop: Workshop) -> None:
    shop, cache = plain_shop, plain_shop.folder / "cache"
    data = put(shop, "large")
    with shop.mounted(*options(cache, "--no-keeper")) as mount:
        complete(mount, "large")
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"]["passthrough"] == 1
            assert read_all(descriptor) == data


@pytest.fixture
def overlay(plain_shop: Workshop) -> Iterator[Path]:
    """A folder on an overlay file system."""
    layers = [plain_shop.folder / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir()
    lower, upper, work, merged = layers
    how = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", how, "overlay", str(merged)], check=True, timeout=LIMIT)
    try:
        yield merged
    finally:
        subprocess.run(["umount", "--lazy", str(merged)], check=True, timeout=LIMIT)


def test_a_cache_on_an_overlay_file_system(plain_shop: Workshop, overlay: Path) -> None:
    data = put(plain_shop, "large")
    with plain_shop.mounted(*options(overlay / "cache")) as mount:
        complete(mount, "large")
        before = reads(mount)
        with opened(mount.path / "large") as descriptor:
            assert facts(mount)["open_files"]["passthrough"] == 1
            assert read_all(descriptor) == data
        assert reads(mount) == before


def test_a_cache_that_is_stacked_too_deeply(plain_shop: Workshop, overlay: Path) -> None:
    """An overlay on an overlay: nothing may lie on that."""
    layers = [plain_shop.folder / name for name in ("upper2", "work2", "merged2")]
    for layer in layers:
        layer.mkdir()
    upper, work, merged = layers
    how = f"lowerdir={overlay},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", how, "overlay", str(merged)], check=True, timeout=LIMIT)
    try:
        data = put(plain_shop, "large")
        with plain_shop.mounted(*options(merged / "cache")) as mount:
            complete(mount, "large")
            assert (mount.path / "large").read_bytes() == data
            assert facts(mount)["state"] == "off" and "stacked too deeply" in facts(mount)["why"]
    finally:
        subprocess.run(["umount", "--lazy", str(merged)], check=True, timeout=LIMIT)
