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
from ossmount.model import Version
from tests.unit.data.disk.test_cache import run
from tests.unit.data.disk.world import DiskWorld, running

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
    assert shelf.find() == shelf.data
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
