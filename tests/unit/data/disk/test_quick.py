"""Small objects that the kernel's page cache has are read without asking the reading process."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from ossmount.data.disk import store
from ossmount.data.disk.keeper import prepare, root_of
from ossmount.data.disk.layout import WHOLE_SUFFIX, name_of, path_of
from ossmount.data.disk.pieces import Pieces
from ossmount.data.disk.quick import QuickReader
from ossmount.errors import OssMountError
from ossmount.model import Version
from tests.unit.data.disk.test_cache import run
from tests.unit.data.disk.world import DiskWorld, running, until

MIB = 1 << 20


class Shelf:
    """One cached object and a reader of it."""

    def __init__(self, folder: Path, size: int, touch_after: float = 3600.0) -> None:
        prepare(str(folder))
        self.root = root_of(str(folder))
        self.size = size
        self.data = random.Random(size).randbytes(size)
        self.name = name_of("store", Version(b"key", "etag", size))
        self.path = path_of(self.root, self.name, WHOLE_SUFFIX)
        store.save(self.root, self.name, b"label", size, 0, Pieces(memoryview(bytearray(self.data)), [(0, size)]))
        self.slab = memoryview(bytearray(size + 8 * 4096))
        self.quick = QuickReader(self.slab, touch_after)

    def copy(self) -> bytes | None:
        """What read() gives, tried often as in find()."""
        found = (self.quick.read(self.root, self.name, self.size) for _ in range(1000))
        return next((bytes(data) for data in found if data is not None), None)

    def find(self, targets: Sequence[tuple[int, int]] | None = None) -> bytes | None:
        """Tries often: somebody who mounts something at the same moment makes openat2(RESOLVE_CACHED) give up."""
        return next((data for _ in range(1000) if (data := self.load(targets)) is not None), None)

    def load(self, targets: Sequence[tuple[int, int]] | None = None) -> bytes | None:
        targets = targets or [(0, self.size)]
        if not self.quick.load(self.root, self.name, self.size, targets):
            return None
        return b"".join(self.slab[offset : offset + length] for offset, length in targets)


@pytest.mark.parametrize("size", [1, 4095, 4097, 110_000, MIB])
def test_loads_all_of_it_into_whatever_pieces(tmp_path: Path, size: int) -> None:
    shelf = Shelf(tmp_path, size)
    assert shelf.find() == shelf.copy() == shelf.data
    half = size // 2
    if half:
        assert shelf.find([(half + 4096, size - half), (0, half)]) == shelf.data


def test_what_is_not_there_or_damaged_is_left_to_others(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 5000)
    whole = Path(shelf.path).read_bytes()
    for damaged in (
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        whole[:5001] + bytes([whole[5001] ^ 1]) + whole[5002:],
        whole[:5003],
        whole[:2000],
        b"",
    ):
        Path(shelf.path).write_bytes(damaged)
        shelf.quick = QuickReader(shelf.slab, 3600.0)
        assert shelf.load() is None
        shelf.quick = QuickReader(shelf.slab, 3600.0)
        assert shelf.quick.read(shelf.root, shelf.name, shelf.size) is None
        assert Path(shelf.path).read_bytes() == damaged
    os.unlink(shelf.path)
    shelf.quick = QuickReader(shelf.slab, 3600.0)
    assert shelf.load() is None
    os.symlink("/etc/passwd", shelf.path)
    shelf.quick = QuickReader(shelf.slab, 3600.0)
    assert shelf.load() is None


def test_an_old_use_is_noted_by_the_process_that_may_wait(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 5000)
    os.utime(shelf.path, (0, 1_000_000))
    assert shelf.load() is None


def test_what_is_not_in_memory_is_tried_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, 5000)
    tried = []

    def preadv(*arguments: object) -> int:
        tried.append(arguments[-1])
        raise BlockingIOError(errno.EAGAIN, "not in memory")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        for _ in range(64 * 20):
            assert shelf.load() is None
    assert 20 <= len(tried) <= 40 and set(tried) == {os.RWF_NOWAIT}
    assert shelf.find() == shelf.data  # it is noticed when it is in memory again


def test_a_kernel_without_openat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, 5000)
    calls = []

    def syscall(*arguments: object) -> int:
        import ctypes

        calls.append(arguments)
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(shelf.quick, "_call", syscall)
    for _ in range(100):
        assert shelf.load() is None
    assert len(calls) <= 2


def test_quick_hits_of_a_cache_and_damage_in_between(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(110_000)
        large = world.add(3 * MIB, "large")
        async with running(world):
            assert await world.check(version) == 1
            assert await world.check(version) == 0
            assert world.facts["quick_hits"] == 0  # nothing is believed before the reading process has looked at whose it is
            for _ in range(20):
                assert await world.check(version) == 0
            quick = world.facts["quick_hits"]
            assert quick > 0 and world.facts["hits"] == 21
            assert await world.check(large) > 0 and await world.check(large) == 0
            path = world.path(version, WHOLE_SUFFIX)
            data = path.read_bytes()
            path.write_bytes(data[:70_000] + bytes([data[70_000] ^ 4]) + data[70_001:])
            assert await world.check(version) == 1
            assert (world.facts["quick_hits"], world.facts["bad_blocks"]) == (quick, 1)
            assert sum([await world.check(version) for _ in range(100)]) == 0
            assert world.facts["quick_hits"] > quick

    run(test)
    assert "do not verify" in caplog.text


def test_a_whole_small_file_that_the_kernel_has_takes_no_memory_of_the_slab(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version, other = world.add(110_000), world.add(70_001, "other")
        async with running(world):
            for each in (version, other):
                assert [await world.check(each) for _ in range(2)] == [1, 0]
            free, answers = world.reader.facts()["memory_free"], []

            def done(result: Sequence[memoryview] | OssMountError) -> None:
                assert not isinstance(result, OssMountError)
                answers.append(b"".join(result))
                assert world.reader.facts()["memory_free"] == free

            def is_answered_at_once(each: Version, size: int) -> bool:
                """A read of the first bytes; not always at once: somebody who mounts something gets in the way."""
                hits, before = world.facts["quick_hits"], len(answers)
                world.reader.read(each, 0, size, done)
                return len(answers) > before and world.facts["quick_hits"] > hits

            for each in (version, other):
                await until(lambda each=each: is_answered_at_once(each, each.size + 1), "it is answered at once")  # type: ignore[misc]
                assert answers[-1] == world.fetcher.objects[each]
                assert not world.reader.facts()["memory_held"]

    run(test)


def test_a_part_of_a_small_file_is_kept_in_the_slab(tmp_path: Path) -> None:
    """Its next part would otherwise be read and verified with all the rest again."""

    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(110_000)
        async with running(world):
            assert [await world.check(version) for _ in range(2)] == [1, 0]
            hits = world.facts["hits"]
            for offset in range(0, version.size, 16_384):
                answers: list[bytes] = []

                def done(result: Sequence[memoryview] | OssMountError, answers: list[bytes] = answers) -> None:
                    assert not isinstance(result, OssMountError)
                    answers.append(b"".join(result))

                world.reader.read(version, offset, 16_384, done)
                await until(lambda answers=answers: answers, "it is answered")  # type: ignore[misc]
                assert answers == [world.fetcher.objects[version][offset : offset + 16_384]]
            assert world.facts["hits"] == hits + 1

    run(test)


def test_readers_are_served_from_the_disk_once_most_of_what_they_ask_for_lies_there(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        versions = [world.add(10_000, f"{number}") for number in range(40)]
        async with running(world):
            for version in versions:
                assert await world.check(version) == 1
            assert not world.cache.serves
            for version in versions:
                assert await world.check(version) == 0
            assert world.cache.serves
            for number in range(40):
                await world.check(world.add(10_000, f"more {number}"))
            assert not world.cache.serves

    run(test)
