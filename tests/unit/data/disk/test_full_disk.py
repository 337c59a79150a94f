"""A disk that is full to the last block: ext4 in a small file, which fails in the middle of a write."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.data.disk import store
from ossmount.data.disk.inspection import verify
from ossmount.data.disk.inventory import entries
from ossmount.data.disk.keeper import root_of
from tests.unit.data.disk.test_cache import run
from tests.unit.data.disk.world import MIB, DiskWorld, running

pytestmark = pytest.mark.stress  # needs root and a loop device, which not every machine that runs the tests has

FULL = 60.0  # seconds; longer than a full disk is left alone


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB without reserve for root."""
    image, path = tmp_path / "image", tmp_path / "small"
    path.mkdir()
    with open(image, "wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True, timeout=60)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=60)


def fill(path: Path, leave: int) -> Path:
    """A file that takes all but so many bytes."""
    filler = path / "filler"
    with open(filler, "wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    with open(filler, "r+b") as file:
        os.fsync(file.fileno())
        file.truncate(max(0, filler.stat().st_size - leave))
        os.fsync(file.fileno())
    return filler


@pytest.mark.parametrize("leave", [0, 4096, 50_000, 300_000, 3 * MIB])
def test_reading_goes_on_and_writing_begins_again_once_there_is_room(ext4: Path, leave: int) -> None:
    async def test() -> None:
        order = random.Random(leave)
        world = DiskWorld([ext4])
        sizes = [order.choice([5000, 110_000, MIB // 2, MIB + 5]) for _ in range(24)]
        versions = [world.add(size, f"object {number}") for number, size in enumerate(sizes)]
        async with running(world):
            await world.check(versions[0])
            filler = fill(ext4, leave)
            for version in versions[1:]:
                await world.check(version)
                await world.check(version, version.size // 3, version.size // 3)
            assert world.facts["not_written"] > 0
            filler.unlink()
            world.later += FULL
            for version in versions:
                await world.check(version)
            assert await world.check(versions[-1]) == 0
            assert world.facts["bad_blocks"] == 0
        buffer = memoryview(bytearray(store.BUFFER))
        verdicts = [verify(entry, buffer) for entry in entries(root_of(str(ext4)))]
        assert verdicts and not any(verdict.bad for verdict in verdicts)

    run(test)


def test_it_is_really_full(ext4: Path) -> None:
    """The test's own means: without this the others might test nothing."""
    fill(ext4, 0)
    with pytest.raises(OSError) as full:
        (ext4 / "more").write_bytes(bytes(1 << 20))
    assert full.value.errno == errno.ENOSPC
