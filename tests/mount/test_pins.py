"""`ossmount warm --pin`: files that stay in the cache on disk, whatever else is read."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ossmount.exit_codes import ExitCode
from tests.mount.support import BUCKET, Mount, Workshop, eventually

MIB = 1 << 20


def fill(shop: Workshop) -> dict[str, bytes]:
    order = random.Random(7)
    sizes = {"model/a": 110_000, "model/large": 3 * MIB + 5, "model/empty": 0, "model/deep/b": 1}
    objects = {key: order.randbytes(size) for key, size in sizes.items()}
    objects |= {f"other/{number}": order.randbytes(MIB) for number in range(30)}
    for key, data in objects.items():
        shop.server.store.put(BUCKET, key.encode(), data)
    return objects


def folder(shop: Workshop) -> str:
    return str(shop.folder / "cache")


def options(shop: Workshop) -> list[str]:
    return ["--cache-dir", folder(shop), "--cache-size", "16M", "--cache-free-space", "0", "--memory-limit", "64M"]


def cached(shop: Workshop, word: str) -> Any:
    done = shop.run("cache", word, "--cache-dir", folder(shop), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def gets(shop: Workshop, prefix: str) -> int:
    return sum(1 for each in shop.server.requests if each.method == "GET" and each.key.startswith(prefix.encode()))


def evicts(mount: Mount, shop: Workshop) -> None:
    """Reads so much that the cache must drop something."""
    for number in range(30):
        (mount.path / f"other/{number}").read_bytes()
    eventually(lambda: mount.status()["facts"]["disk"]["directories"][folder(shop)].get("evicted"), "something is dropped")


@pytest.mark.parametrize("read_before", [False, True])
def test_pinned_files_stay_and_unpinned_ones_go(plain_shop: Workshop, read_before: bool) -> None:
    shop = plain_shop
    objects = fill(shop)
    with shop.mounted(*options(shop)) as mount:
        if read_before:  # by now the kernel has them, and the disk perhaps not
            for key, data in objects.items():
                assert (mount.path / key).read_bytes() == data
        done = shop.run("warm", str(mount.path), "model", "--pin")
        assert done.returncode == ExitCode.OK, done.stderr
        assert "4 files" in done.stderr and "are pinned" in done.stderr
        evicts(mount, shop)
        pinned = {line["key"]: line["size"] for line in cached(shop, "ls") if line["pinned"]}
        assert pinned == {"model/a": 110_000, "model/large": 3 * MIB + 5, "model/deep/b": 1}
        (usage,) = cached(shop, "usage")
        assert (usage["pinned_objects"], usage["pinned_bytes"]) == (3, sum(pinned.values()))
        assert mount.status()["facts"]["disk"]["directories"][folder(shop)]["pinned"] >= sum(pinned.values())
    before = gets(shop, "model/")
    with shop.mounted(*options(shop)) as mount:  # another mount, nothing in the kernel's page cache
        evicts(mount, shop)
        for key in objects:
            if key.startswith("model/"):
                assert (mount.path / key).read_bytes() == objects[key]
        again = shop.run("warm", str(mount.path), "model", "--pin")
        assert again.returncode == ExitCode.OK, again.stderr
        assert gets(shop, "model/") == before
        assert shop.run("cache", "prune", "--cache-dir", folder(shop), "--cache-size", "1").returncode == 0
        assert {line["key"] for line in cached(shop, "ls")} >= {"model/a", "model/large", "model/deep/b"}
        done = shop.run("warm", str(mount.path), "--unpin", "model")
        assert done.returncode == ExitCode.OK and "4 files are not pinned any more" in done.stderr
    assert not any(line["pinned"] for line in cached(shop, "ls"))
    assert shop.run("cache", "prune", "--cache-dir", folder(shop), "--cache-size", "1").returncode == 0
    assert cached(shop, "ls") == []


def test_clear_drops_what_is_pinned_too(plain_shop: Workshop) -> None:
    shop = plain_shop
    fill(shop)
    with shop.mounted(*options(shop)) as mount:
        assert shop.run("warm", str(mount.path), "model", "--pin").returncode == 0
        assert shop.run("cache", "clear", "--cache-dir", folder(shop)).returncode == 0
        assert cached(shop, "ls") == []
        done = shop.run("warm", str(mount.path), "model", "--pin")  # the kernel has them all
        assert done.returncode == ExitCode.OK, done.stderr
        assert len(cached(shop, "ls")) == 3


def test_more_than_fits_is_refused_before_anything_is_read(plain_shop: Workshop) -> None:
    shop = plain_shop
    fill(shop)
    with shop.mounted(*options(shop)) as mount:
        done = shop.run("warm", str(mount.path), "other", "--pin")
        assert done.returncode == ExitCode.NO_ROOM
        assert "16 of 30 files do not fit" in done.stderr
        assert gets(shop, "other/") == 0
        assert shop.run("warm", str(mount.path), "--unpin", "other").returncode == 0
        assert shop.run("warm", str(mount.path), "--pin", "other/0", "other/1").returncode == 0


def test_what_cannot_be_pinned(plain_shop: Workshop) -> None:
    shop = plain_shop
    fill(shop)
    with shop.mounted() as mount:
        for word in ("--pin", "--unpin"):
            done = shop.run("warm", str(mount.path), "model", word)
            assert done.returncode == ExitCode.USAGE
            assert "mount it with --cache-dir" in done.stderr
        both = shop.run("warm", str(mount.path), "model", "--pin", "--unpin")
        assert both.returncode == ExitCode.USAGE
    (shop.folder / "cache").write_text("no folder by the time of the mount")
    (shop.folder / "cache").unlink()
    (shop.folder / "cache").mkdir()
    (shop.folder / "cache" / "ossmount-1").write_text("")  # the writing process cannot make it
    with shop.mounted(*options(shop)) as mount:
        done = shop.run("warm", str(mount.path), "model/a", "missing", "--pin")
        assert done.returncode == ExitCode.UNEXPECTED
        assert "model/a: the cache on disk cannot be written" in done.stderr
        assert "missing: No such file or directory" in done.stderr
