"""Walks in any order: how many listings they take, and how many of them at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import Unavailable
from ossmount.metadata import walks
from ossmount.metadata.namespace import TreeNamespace
from ossmount.metadata.walks import MOST
from ossmount.model import Absent, Found, Kind
from tests.unit.metadata.fake_lister import FakeLister, Row, list_all, running, soon


async def directories(namespace: TreeNamespace, path: bytes) -> list[Row]:
    """What a walk does first: looks the folder up and lists it."""
    parent = 1
    for name in path.split(b"/"):
        entry: Found | Absent = await soon(namespace.lookup(parent, name))
        assert isinstance(entry, Found)
        parent = entry.node.id
    return await list_all(namespace, parent)


async def walk_in(namespace: TreeNamespace, order: str) -> int:
    """Lists every folder below train/ in an order; returns the number of files."""
    found = [named for named in await directories(namespace, b"train") if named.found.node.kind is Kind.DIRECTORY]
    if order == "backwards":
        found.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(found)
    return sum([len(await list_all(namespace, named.found.node.id)) for named in found])


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_a_walk_in_any_order_takes_few_listings_many_at_once(tmp_path: Path, order: str) -> None:
    async def main() -> None:
        keys = [b"train/folder%03d/file%04d.jpg" % (i % 100, i) for i in range(10_000)]
        lister = FakeLister([*keys, b"other/x"], latency=0.03)
        async with running(lister, tmp_path) as namespace:
            assert await walk_in(namespace, order) == 10_000
            assert lister.lists <= 25
            assert 1 < lister.most_under_way <= MOST + 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_folders_of_many_sizes_are_listed_completely(tmp_path: Path, order: str) -> None:
    sizes = [random.Random(7).choice([0, 1, 30, 200, 2500]) + 1 for _ in range(60)]
    keys = [b"train/%d/%d" % (folder, i) for folder, size in enumerate(sizes) for i in range(size)]

    async def main() -> None:
        lister = FakeLister(keys, latency=0.03)
        async with running(lister, tmp_path) as namespace:
            assert await walk_in(namespace, order) == len(keys)
            assert lister.lists <= 3 * (len(keys) // 1000 + len(sizes) // 4)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_one_folder_that_is_listed_does_not_list_its_neighbours(tmp_path: Path) -> None:
    keys = [b"train/%03d/%04d" % (folder, i) for folder in range(200) for i in range(500)]

    async def main() -> None:
        lister = FakeLister(keys)
        async with running(lister, tmp_path) as namespace:
            found = await directories(namespace, b"train")
            before = lister.lists
            await list_all(namespace, found[100].found.node.id)
            assert lister.lists - before <= 3

    trio.run(main)


def test_a_parent_of_very_many_folders_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "_LARGEST", 50)

    async def main() -> None:
        lister = FakeLister([b"train/%03d/%d" % (folder, i) for folder in range(60) for i in range(50)])
        async with running(lister, tmp_path) as namespace:
            read = namespace._tree.directories_in_order
            count = 0

            def directories_in_order(parent: int, most: int) -> list[int]:
                nonlocal count
                count += 1
                return read(parent, most)

            namespace._tree.directories_in_order = directories_in_order  # type: ignore[method-assign]
            assert await walk_in(namespace, "backwards") == 3_000
            assert count == 1

    trio.run(main)


def test_a_failure_ahead_harms_nobody(tmp_path: Path) -> None:
    """What was asked for ahead and failed is asked again by whoever needs it."""

    async def main() -> None:
        lister = FakeLister([b"train/%03d/%04d" % (i // 50, i) for i in range(5_000)])
        lister.fails = lambda lists: lists % 3 == 2
        async with running(lister, tmp_path) as namespace:
            count = 0
            found = await retried(lambda: directories(namespace, b"train"))
            for named in found:
                count += len(await retried(lambda named=named: list_all(namespace, named.found.node.id)))
            assert count == 5_000
            assert lister.failed >= 2

    trio.run(main)


async def retried(ask: object) -> list[Row]:
    for _ in range(6):
        try:
            return await ask()  # type: ignore[operator,no-any-return]
        except Unavailable:
            continue
    raise AssertionError("failed six times")
