"""Pins: what is never evicted, and how much of it there may be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ossmount.data.disk import inventory, pins, store
from ossmount.data.disk.keeper import RECOUNT, Keeper, Limits, prepare, root_of
from ossmount.data.disk.layout import SUFFIXES, WHOLE_SUFFIX, name_of, path_of
from ossmount.data.disk.pieces import Pieces
from ossmount.data.disk.pins import State
from ossmount.model import Version
from tests.unit.data.disk.test_cache import run
from tests.unit.data.disk.world import DiskWorld, running, until

MIB = 1 << 20


class Folder:
    """A cache folder; `now` is the time of its keepers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        prepare(str(path))
        self.root = root_of(str(path))
        self.now = 1.0
        self.reports: list[dict[str, Any]] = []

    def name(self, number: int, size: int = MIB) -> bytes:
        return name_of("store", Version(b"%d" % number, "etag", size))

    def save(self, number: int, size: int = MIB, start: int = 0, end: int | None = None) -> bytes:
        """Object `number`, used `number` seconds after the beginning."""
        name = self.name(number, size)
        slab = memoryview(bytearray((size if end is None else end) - start))
        store.save(self.root, name, b"label", size, start, Pieces(slab, [(0, len(slab))]))
        for suffix in SUFFIXES:
            if os.path.exists(path_of(self.root, name, suffix)):
                os.utime(path_of(self.root, name, suffix), (0, 1_000_000 + number))
        return name

    def keeper(self, size: int = 0, free_percent: int = 0) -> Keeper:
        return Keeper(str(self.path), Limits(size, free_percent), self.reports.append, lambda: self.now)

    def there(self, *numbers: int) -> list[int]:
        return [number for number in numbers if os.path.exists(path_of(self.root, self.name(number), WHOLE_SUFFIX))]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "cache")


def test_the_pinned_stay_and_others_go_in_their_place(folder: Folder) -> None:
    numbers = range(10)
    for number in numbers:
        folder.save(number)
    for number in (0, 1, 5):
        assert folder.keeper().pin(folder.name(number), MIB)
    census = inventory.evict(folder.root, lambda used: 4 * MIB)
    assert folder.there(*numbers) == [0, 1, 5, 7, 8, 9]
    assert census.dropped == 4 and census.pinned == 3 * pins.cost(MIB)
    inventory.evict(folder.root, lambda used: used)
    assert folder.there(*numbers) == [0, 1, 5]
    folder.keeper().unpin(folder.name(1), MIB)
    inventory.evict(folder.root, lambda used: used)
    assert folder.there(*numbers) == [0, 5]


def test_a_pin_that_is_set_between_counting_and_dropping(folder: Folder) -> None:
    folder.save(1)
    (entry,) = inventory.entries(folder.root)
    folder.keeper().pin(folder.name(1), MIB)
    assert not inventory.drop(entry)
    assert folder.there(1) == [1]
    assert inventory.drop(entry, always=True)
    assert list(inventory.entries(folder.root)) == []


def test_pins_take_nine_tenths_of_the_size_at_most_however_many_processes_pin(folder: Folder) -> None:
    one, other = folder.keeper(20 * MIB), folder.keeper(20 * MIB)
    pinned = [number for number in range(40) if (one, other)[number % 2].pin(folder.name(number), MIB)]
    folder.now += RECOUNT  # by now each knows of the other's
    assert not one.pin(folder.name(100), MIB) and not other.pin(folder.name(101), MIB)
    assert one.pin(folder.name(pinned[0]), MIB)  # again: it is pinned
    fresh = folder.keeper(20 * MIB)
    assert not fresh.pin(folder.name(102), MIB)
    alone = Folder(folder.path.with_name("alone"))
    keeper = alone.keeper(20 * MIB)
    assert sum(keeper.pin(alone.name(number), MIB) for number in range(40)) == 17
    keeper.unpin(alone.name(0), MIB)
    assert keeper.pin(alone.name(50), MIB) and not keeper.pin(alone.name(51), MIB)


def test_pins_leave_the_free_space(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 100 MiB of which 30 are free, 10 of the others are the cache's, and 20 % are to stay free."""
    for number in range(10):
        folder.save(number)
    real = os.statvfs(folder.root)

    def statvfs(path: object) -> os.statvfs_result:
        values = list(real)
        values[:5] = [4096, 4096, 25600, 7680, 7680]
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", statvfs)
    keeper = folder.keeper(free_percent=20)
    assert sum(keeper.pin(folder.name(number), MIB) for number in range(60)) == 17  # 30 + 10 - 20 - 2, and a little each


def test_what_is_pinned_is_told_and_outlives_the_process(folder: Folder) -> None:
    keeper = folder.keeper(64 * MIB)
    keeper.pin(folder.name(1), MIB)
    folder.save(1)
    assert [entry.pinned for entry in inventory.entries(folder.root)] == [MIB]
    keeper.turn()
    assert folder.reports[-1]["pinned"] == pins.cost(MIB)
    after = Folder(folder.path)
    after.keeper(64 * MIB).turn()  # not the holder of the lock
    assert pins.is_pinned(after.root, after.name(1))


@pytest.mark.parametrize("size", [1, 5000, 300_000, MIB, 3 * MIB + 5])
def test_complete(folder: Folder, size: int) -> None:
    name = folder.name(1, size)
    assert not pins.is_complete(folder.root, name, size)
    if size > 128 << 10:
        half = size // 2 // 4096 * 4096
        folder.save(1, size, 0, half)
        assert not pins.is_complete(folder.root, name, size)
        folder.save(1, size, half, size)
        assert pins.is_complete(folder.root, name, size)
        os.truncate(path_of(folder.root, name, ".sums"), 4096 + 8)
        assert not pins.is_complete(folder.root, name, size)
        folder.save(1, size, 0, size)
    folder.save(1, size)
    assert pins.is_complete(folder.root, name, size)


def test_pinning_by_way_of_the_writing_process(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path / "one", tmp_path / "two"], size=64 * MIB)
        versions = [world.add(5000 + number, f"object {number}") for number in range(40)]
        anonymous = Version(b"without", "", 5)
        async with running(world):
            pinning = world.cache.pinning
            await world.check(versions[0])
            states = await pinning.pin([*versions, anonymous], True)
            assert states == [State.KEPT] + [State.LACKING] * 39 + [State.FAILED]
            for version in versions:
                await world.check(version)
            assert await pinning.pin(versions, True) == [State.KEPT] * 40
            too_large = Version(b"large", "etag", 64 * MIB)
            assert await pinning.pin([too_large], True) == [State.NO_ROOM]
            await until(lambda: sum(world.state(path).get("pinned", 0) for path in world.directories) > 0, "it is told")
            for pid in world.cache.pids():
                os.kill(pid, 9)
            await until(lambda: world.facts["restarts"] >= 2 and len(world.cache.pids()) == 2, "there are new ones")
            assert await pinning.pin(versions, False) == [State.KEPT] * 40
        assert not any(entry.pinned for path in world.directories for entry in inventory.entries(root_of(str(path))))

    run(test)


def test_pinning_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "cache").write_text("not a folder")
        world = DiskWorld([tmp_path / "cache"])
        version = world.add(5000)
        async with running(world):
            assert await world.cache.pinning.pin([version], True) == [State.FAILED]

    run(test)
