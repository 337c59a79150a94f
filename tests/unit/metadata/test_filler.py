"""Lookups that miss list ahead: how many listings readers in random order take, and what a few lookups may cost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import OssMountError
from ossmount.metadata.filler import AT_ONCE, PAGES_PER_MISS
from ossmount.metadata.namespace import TreeNamespace
from ossmount.model import Found
from tests.unit.metadata.fake_lister import FakeLister, running, soon


async def look_up(namespace: TreeNamespace, path: bytes) -> None:
    parent = 1
    for name in path.split(b"/"):
        entry = await soon(namespace.lookup(parent, name))
        assert isinstance(entry, Found)
        parent = entry.node.id


async def read_by(namespace: TreeNamespace, readers: int, paths: list[bytes]) -> None:
    async def reader(share: list[bytes]) -> None:
        for path in share:
            await look_up(namespace, path)

    async with trio.open_nursery() as nursery:
        for number in range(readers):
            nursery.start_soon(reader, paths[number::readers])


def in_order_of_chance(keys: list[bytes], count: int) -> list[bytes]:
    return random.Random(5).sample(keys, count)


@pytest.mark.parametrize("readers", [1, 8, 64])
def test_readers_of_a_tree_that_was_never_listed_take_few_listings(tmp_path: Path, readers: int) -> None:
    keys = [b"train/%03d/img-%06d.jpg" % (i % 100, i) for i in range(10_000)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            await read_by(namespace, readers, in_order_of_chance(keys, 4_000))
            # 1 for "train", 1 or 2 of single names, 1 for the names in it, 12 with 9 whole directories each
            assert lister.lists <= 20
            assert lister.most_under_way <= AT_ONCE + 2

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_readers_of_a_bucket_with_directories_at_its_top_take_few_listings(tmp_path: Path) -> None:
    keys = [b"%03d/img-%06d.jpg" % (i % 100, i) for i in range(10_000)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            await read_by(namespace, 8, in_order_of_chance(keys, 4_000))
            assert lister.lists <= 26  # the first readers ask at once, before any page has shown that there are directories

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_few_lookups_do_not_list_a_large_tree(tmp_path: Path) -> None:
    keys = [b"train/%03d/%06d" % (i // 200, i) for i in range(100_000)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            for path in (b"train/400/080000", b"train/200/040050", b"train/300/060100"):
                await look_up(namespace, path)
            await trio.sleep(10)  # whatever was begun has ended
            misses = 2 * 3  # of the directory and of the file
            assert lister.lists <= 1 + misses * (1 + PAGES_PER_MISS)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_tree_that_has_become_old_is_listed_ahead_once_more(tmp_path: Path) -> None:
    keys = [b"train/%03d/%05d" % (i % 100, i) for i in range(10_000)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path, entry_ttl=60.0, attr_ttl=60.0) as namespace:
            await read_by(namespace, 8, in_order_of_chance(keys, 1_000))
            first = lister.lists
            await trio.sleep(61)
            await read_by(namespace, 8, in_order_of_chance(keys, 1_000))
            assert lister.lists - first <= 24

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_more_directories_than_a_page_shows_are_all_listed(tmp_path: Path) -> None:
    keys = [b"train/%05d/%d" % (directory, file) for directory in range(2_500) for file in range(4)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            await read_by(namespace, 8, in_order_of_chance(keys, 10_000))
            assert lister.lists <= 32

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_page_ahead_that_fails_harms_nobody(tmp_path: Path) -> None:
    keys = [b"train/%03d/%05d" % (i % 100, i) for i in range(10_000)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        lister.fails = lambda lists: lists % 4 == 3
        async with running(lister, tmp_path) as namespace:
            for path in in_order_of_chance(keys, 500):
                for _ in range(4):
                    try:
                        await look_up(namespace, path)
                        break
                    except OssMountError:
                        continue
                else:
                    raise AssertionError("failed four times")
            assert lister.failed > 2

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_the_directories_of_a_large_parent_are_read_once_for_each_page_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [b"train/%05d/%d" % (directory, file) for directory in range(1_500) for file in range(20)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            read = namespace._tree.directories_in_order
            times = 0

            def directories_in_order(parent: int, most: int) -> list[int]:
                nonlocal times
                times += 1
                return read(parent, most)

            monkeypatch.setattr(namespace._tree, "directories_in_order", directories_in_order)
            await read_by(namespace, 8, in_order_of_chance(keys, 5_000))
            assert lister.lists <= 60
            assert times <= 4

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))
