"""The cache on disk under real mounts: what was read once is read again without OSS."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Mount, Workshop, eventually

MIB = 1 << 20


def fill(shop: Workshop) -> dict[str, bytes]:
    """Objects of all sizes that are treated differently."""
    order = random.Random(5)
    sizes = [1, 4095, 4096, 4097, 110_000, 131_073, MIB, MIB + 1, 5 * MIB + 77]
    objects = {f"folder/file{number}": order.randbytes(size) for number, size in enumerate(sizes)}
    for key, data in objects.items():
        shop.server.store.put(BUCKET, key.encode(), data)
    return objects


def gets(shop: Workshop) -> int:
    return sum(1 for request in shop.server.requests if request.method == "GET" and request.key)


def facts(mount: Mount) -> dict[str, Any]:
    answer: dict[str, Any] = mount.status()["facts"]["disk"]
    return answer


def options(shop: Workshop, *more: str) -> list[str]:
    """So much memory that nothing is left unwritten for want of it: what waits to be written is held in memory. And it does
    not depend on how full the disk is."""
    return ["--cache-dir", str(shop.folder / "cache"), "--cache-free-space", "0", "--memory-limit", "256M", *more]


def written(mount: Mount) -> None:
    eventually(lambda: not facts(mount)["writing"], "everything is written")
    assert facts(mount)["not_written"] == 0, facts(mount)


def read_all(mount: Mount, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        assert (mount.path / key).read_bytes() == data


@pytest.mark.option("cache_dir")
def test_a_second_mount_reads_without_a_request(shop: Workshop) -> None:
    objects = fill(shop)
    with shop.mounted(*options(shop)) as mount:
        read_all(mount, objects)
        written(mount)
        assert "cache directory" not in mount.log
    before = gets(shop)
    with shop.mounted(*options(shop)) as mount:
        read_all(mount, objects)
        assert facts(mount)["bytes_read"] >= sum(map(len, objects.values()))
        done = shop.run("cache", "verify", "--cache-dir", str(shop.folder / "cache"))
        assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert gets(shop) == before


def users_of(shop: Workshop) -> int:
    """How many processes hold a lock in the file that shows who uses the cache."""
    inodes = {f":{path.stat().st_ino}" for path in (shop.folder / "cache").glob("*/users")}
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return sum(fields[1] == "OFDLCK" and any(fields[5].endswith(inode) for inode in inodes) for fields in locks)


def names_known(mount: Mount) -> bool:
    return any(directory["names_known"] for directory in facts(mount)["directories"].values())


def test_two_mounts_share_it(plain_shop: Workshop) -> None:
    shop = plain_shop
    objects = fill(shop)
    with shop.mounted(*options(shop), name="one") as one, shop.mounted(*options(shop), name="two") as two:
        # until then one may take the names for known, and not find what the other one has just written
        eventually(lambda: users_of(shop) == 2, "both show that they use the folder")
        eventually(lambda: not names_known(one) and not names_known(two), "both have seen it")
        read_all(one, objects)
        written(one)
        before = gets(shop)
        read_all(two, objects)
        assert gets(shop) == before


def test_a_changed_object_is_not_read_from_its_old_bytes(plain_shop: Workshop) -> None:
    shop = plain_shop
    objects = fill(shop)
    with shop.mounted(*options(shop)) as mount:
        read_all(mount, objects)
        written(mount)
    changed = {key: bytes(reversed(data)) for key, data in objects.items()}
    for key, data in changed.items():
        shop.server.store.put(BUCKET, key.encode(), data)
    with shop.mounted(*options(shop, "--attr-timeout", "0", "--entry-timeout", "0")) as mount:
        read_all(mount, changed)


def test_disk_processes_that_are_killed_are_replaced(plain_shop: Workshop) -> None:
    shop = plain_shop
    objects = fill(shop)
    with shop.mounted(*options(shop)) as mount:
        pids = facts(mount)["pids"]
        assert len(pids) == 2 and set(pids) <= set(mount.status()["pids"])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        read_all(mount, objects)
        eventually(lambda: len(set(facts(mount)["pids"]) - set(pids)) == 2, "there are new ones")
        assert facts(mount)["restarts"] == 2


@pytest.mark.option("cache_size")
def test_a_cache_that_is_smaller_than_the_data(plain_shop: Workshop) -> None:
    shop = plain_shop
    order = random.Random(6)
    objects = {f"file{number}": order.randbytes(MIB) for number in range(40)}
    for key, data in objects.items():
        shop.server.store.put(BUCKET, key.encode(), data)
    with shop.mounted(*options(shop, "--cache-size", "16M")) as mount:
        read_all(mount, objects)

        def evicted() -> bool:
            state = facts(mount)["directories"][str(shop.folder / "cache")]
            return bool(state.get("evicted")) and state["used"] <= 16 * MIB

        eventually(evicted, "the least recently used are dropped")
        read_all(mount, objects)


def test_limits_without_a_folder_are_refused(plain_shop: Workshop) -> None:
    shop = plain_shop
    done = shop.run("mount", f"oss://{BUCKET}", str(shop.mountpoint()), "--cache-size", "1G")
    assert done.returncode == ExitCode.USAGE
    assert "give --cache-dir a folder" in done.stderr
    (shop.folder / "file").touch()
    done = shop.run("mount", f"oss://{BUCKET}", str(shop.mountpoint()), "--cache-dir", str(shop.folder / "file"))
    assert done.returncode == ExitCode.USAGE
    assert "file is not a folder" in done.stderr
