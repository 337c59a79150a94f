"""The cache on disk under real mounts: what was read once is read again without OSS."""

from __future__ import annotations

import random
from typing import Any

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


def read_all(mount: Mount, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        assert (mount.path / key).read_bytes() == data


def test_a_second_mount_reads_without_a_request(shop: Workshop) -> None:
    objects = fill(shop)
    # So much memory that nothing is left unwritten for want of it: what waits to be written is held in memory.
    options = ["--cache-dir", str(shop.folder / "cache"), "--memory-limit", "256M"]
    with shop.mounted(*options) as mount:
        read_all(mount, objects)
        eventually(lambda: not facts(mount)["writing"], "everything is written")
        assert facts(mount)["not_written"] == 0, facts(mount)
        assert "cache directory" not in mount.log
    before = gets(shop)
    with shop.mounted(*options) as mount:
        read_all(mount, objects)
        assert facts(mount)["bytes_read"] >= sum(map(len, objects.values()))
    assert gets(shop) == before
