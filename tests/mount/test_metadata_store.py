"""Mounts whose metadata store has trouble, or is shared."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mount.support import BUCKET, Mount, Workshop, eventually

KEYS = [b"a/%04d" % i for i in range(3_000)] + [b"b/c/d", b"e"]
FOREVER = ("-o", "metadata_ttl=inf")


@pytest.fixture
def filled(plain_shop: Workshop) -> Workshop:
    plain_shop.server.store.put_many(BUCKET, KEYS, b"data")
    return plain_shop


def inodes(path: Path) -> dict[str, int]:
    found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    return {str(file.relative_to(path)): file.stat().st_ino for file in found}


def store_of(mount: Mount) -> dict[str, Any]:
    store: dict[str, Any] = mount.status()["facts"]["metadata"]["store"]
    return store


def listings(shop: Workshop) -> int:
    return sum("list-type" in request.query for request in shop.server.requests)


def settled(shop: Workshop, mount: Mount) -> int:
    """The same once a mount has stored all: pages that a walk has listed ahead may come, and be committed, after its end."""
    seen: list[tuple[int, int]] = []
    while len(seen) < 4 or len(set(seen[-4:])) > 1:
        time.sleep(0.1)
        seen.append((listings(shop), store_of(mount)["commits"]))
    return listings(shop)


def test_two_mounts_of_a_source_share_its_store_at_the_same_time(filled: Workshop) -> None:
    with filled.mounted(*FOREVER, name="one") as one, filled.mounted(*FOREVER, name="two") as two:
        wanted = inodes(one.path)
        assert len(wanted) == len(KEYS)
        assert store_of(one)["path"] == store_of(two)["path"]
        before = settled(filled, one)
        assert inodes(two.path) == wanted
        assert listings(filled) == before
        filled.server.store.put(BUCKET, b"e", b"another")
        for mount in (one, two):
            assert filled.run("refresh", str(mount.path)).returncode == 0
            assert (mount.path / "e").read_bytes() == b"another"
        assert (one.path / "e").stat().st_ino == (two.path / "e").stat().st_ino > wanted["e"]
        assert store_of(one)["warnings"] == store_of(two)["warnings"] == []


@pytest.fixture
def small_disk(filled: Workshop) -> Iterator[Path]:
    path = filled.folder / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k,mode=700", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_leaves_the_mount_working_and_status_says_so(filled: Workshop, small_disk: Path) -> None:
    with filled.mounted(*FOREVER, env={"OSSMOUNT_METADATA_DIR": str(small_disk)}) as mount:
        first = (mount.path / "e").stat().st_ino
        found = inodes(mount.path)
        assert len(found) == len(KEYS) and found["e"] == first
        store = store_of(mount)
        assert store["on_disk"] is False
        assert "goes on in memory" in " ".join(store["warnings"]), store
        assert "goes on in memory" in filled.run("status", str(mount.path)).stdout
        kept = Path(store["path"])
        assert kept.is_dir()
    eventually(lambda: not kept.exists(), "what was kept in memory is gone with the mount")


def test_a_damaged_store_is_moved_aside_and_status_says_so(filled: Workshop) -> None:
    with filled.mounted(*FOREVER) as mount:
        before = inodes(mount.path)
        path = Path(store_of(mount)["path"])
    data = path / "data.mdb"
    data.write_bytes(b"no database" * 10_000)
    with filled.mounted(*FOREVER) as mount:
        after = inodes(mount.path)
        assert after.keys() == before.keys()
        assert min(after.values()) > max(before.values()), "a number was used again"
        (warning,) = store_of(mount)["warnings"]
        assert "is rebuilt" in warning
        (aside,) = path.parent.glob(f"{path.name}.damaged-*")
        assert str(aside) in warning and (aside / "data.mdb").exists()
