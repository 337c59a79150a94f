"""The table of names: what is certainly not cached is not asked for, and what is cached is always found."""

from __future__ import annotations

import os
import random
from pathlib import Path

from ossmount.data.disk.keeper import prepare, root_of
from ossmount.data.disk.known import Known, Listing
from tests.unit.data.disk.test_cache import run
from tests.unit.data.disk.world import DiskWorld, running, until


def known(world: DiskWorld) -> bool:
    return all(world.state(path)["names_known"] for path in world.directories)


def test_every_name_that_was_listed_or_added_is_in_the_table(tmp_path: Path) -> None:
    order = random.Random(1)
    prepare(str(tmp_path))
    root = root_of(str(tmp_path))
    names = [order.randbytes(20) for _ in range(3000)]
    for name, suffix in zip(names, [".whole", ".sums", ".data"] * 1000, strict=True):
        folder = f"{root}/{name.hex()[:2]}"
        os.makedirs(folder, exist_ok=True)
        Path(f"{folder}/{name.hex()}{suffix}").touch()
        Path(f"{folder}/strange").touch()
    table = Known()
    told: list[bool | None] = []

    def tell(positions: bytes, state: bool | None) -> None:
        table.add_positions(positions)
        told.append(state)

    Listing(root, tell).turn()
    assert told[-1] is True
    assert all(name in table for name in names)
    others = [order.randbytes(20) for _ in range(3000)]
    assert sum(name in table for name in others) < 30
    for name in others:
        table.add(name)
    assert all(name in table for name in [*names, *others])


def test_an_empty_cache_is_not_asked_and_a_filled_one_is(tmp_path: Path) -> None:
    async def test() -> None:
        folders = [tmp_path / "one", tmp_path / "two"]
        first = DiskWorld(folders)
        versions = [first.add(5000, f"object {number}") for number in range(20)]
        async with running(first):
            await until(lambda: known(first), "the names are known")
            for version in versions[:10]:
                assert await first.check(version) == 1
            assert first.facts["known_misses"] == first.facts["misses"] == 10
            for version in versions[:10]:
                assert await first.check(version) == 0
        second = DiskWorld(folders)
        second.fetcher.objects.update(first.fetcher.objects)
        async with running(second):
            await until(lambda: known(second), "the names are known")
            assert [await second.check(version) for version in versions] == [0] * 10 + [1] * 10
            assert second.facts["known_misses"] >= 9  # a name that looks like another one is asked for
            for pid in second.cache.pids():
                os.kill(pid, 9)
            await until(lambda: second.facts["restarts"] == 2, "they have ended")
            await until(lambda: known(second), "the names are known again")
            assert [await second.check(version) for version in versions] == [0] * 20

    run(test)


def test_what_another_mount_writes_is_found(tmp_path: Path) -> None:
    async def test() -> None:
        one = DiskWorld([tmp_path])
        versions = [one.add(5000, f"object {number}") for number in range(3)]
        async with running(one):
            await until(lambda: known(one), "the names are known")
            two = DiskWorld([tmp_path])
            two.fetcher.objects.update(one.fetcher.objects)
            async with running(two):
                await until(lambda: not known(one), "the other one is noticed")
                assert await two.check(versions[0]) == 1
                assert await one.check(versions[0]) == 0
                assert await two.check(versions[1]) == 1
                assert not known(two)
            await until(lambda: known(one), "it has gone")
            assert await one.check(versions[1]) == 0
            assert await one.check(versions[2]) == 1
            assert one.facts["known_misses"] == 1

    run(test)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    prepare(str(tmp_path))
    root = root_of(str(tmp_path))
    os.chmod(root, 0o777)
    told: list[object] = []
    Listing(root, lambda *what: told.append(what)).turn()
    assert told == [] and os.listdir(root) == []
    Listing(f"{root}/missing", lambda *what: told.append(what)).turn()
    assert told == []
