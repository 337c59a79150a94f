"""Whole copies: handed out when every byte is there and verified, and never when something touched the file since."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from ossmount.data.disk import completing, copies, inventory, messages
from ossmount.data.disk.keeper import root_of
from ossmount.data.disk.layout import DATA_SUFFIX, SUMS_SUFFIX
from ossmount.data.disk.local import WholeCopies
from ossmount.data.disk.pieces import block_sums
from ossmount.data.disk.places import Places
from ossmount.data.slab import Slab
from ossmount.model import Version
from tests.unit.data.disk.world import MIB, DiskWorld, running, until

SIZE = 5 * MIB + 77


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    trio.run(main)


def world_of(*directories: Path, **config: Any) -> DiskWorld:
    return DiskWorld(directories, copies=True, **config)


def facts(world: DiskWorld) -> dict[str, Any]:
    found: dict[str, Any] = world.facts["copies"]
    return found


async def opened(world: DiskWorld, version: Version) -> int | None:
    """A copy, once no check is waited for any more."""
    await until(lambda: facts(world)["waiting_for_check"] == 0, "everything is checked")
    assert world.cache.copies is not None
    return await world.cache.copies.open(version)


async def has_copy(world: DiskWorld, version: Version) -> bool:
    """Whether there is one, with the right bytes and no others."""
    descriptor = await opened(world, version)
    if descriptor is None:
        return False
    try:
        assert os.pread(descriptor, version.size + 1, 0) == world.fetcher.objects[version]
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
    return True


def test_an_object_that_was_read_through_has_a_copy(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            assert not await has_copy(world, version)
            await world.check(version)
            assert await has_copy(world, version)
            assert facts(world)["whole"] == 1 and facts(world)["given"] == 1

    run(test)


def test_nothing_is_given_before_the_last_byte_is_there(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            for offset in range(0, SIZE, MIB):
                assert not await has_copy(world, version)
                await world.check(version, offset, min(MIB, SIZE - offset))
            assert await has_copy(world, version)

    run(test)


@pytest.mark.parametrize("size", [1, 4096, 110_000, 700_000, MIB])
def test_small_objects_have_none(tmp_path: Path, size: int) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(size)
        async with running(world):
            await world.check(version)
            assert not await has_copy(world, version)
            assert not await has_copy(world, version._replace(etag="", size=SIZE))

    run(test)


def test_the_next_mount_finds_it_without_verifying_again(tmp_path: Path) -> None:
    async def test() -> None:
        first = world_of(tmp_path)
        version = first.add(SIZE)
        async with running(first):
            await first.check(version)
            assert await has_copy(first, version)
        second = world_of(tmp_path)
        second.add(SIZE)
        async with running(second):
            assert await has_copy(second, version)
            assert facts(second)["checked"] == 0

    run(test)


def test_after_another_boot_it_is_verified_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            assert await has_copy(world, version)
        root, name = root_of(str(tmp_path)), world.path(version, DATA_SUFFIX).stem
        monkeypatch.setattr(copies, "boot", lambda: b"another".ljust(36))
        assert copies.open_copy(root, bytes.fromhex(name), SIZE, 60) is None
        buffer = memoryview(bytearray(MIB))
        # the object's checksum is in the mark of the boot before: OSS need not be asked
        assert copies.check(root, bytes.fromhex(name), SIZE, buffer, None) == copies.Checked(0, 0, True)
        descriptor = copies.open_copy(root, bytes.fromhex(name), SIZE, 60)
        assert descriptor is not None
        os.close(descriptor)

    run(test)


def test_the_whole_is_compared_with_what_oss_says_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each block verifies, and yet the bytes are not the object's: as when one of its ranges was another one's."""

    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            world.checksums[version] = 1
            await world.check(version)
            assert not await has_copy(world, version)
            assert facts(world)["bad_copies"] == 1 and world.asked_checksums == 1
            assert "is not what OSS has" in caplog.text
            world.checksums.clear()
            assert await world.check(version) > 0  # nothing of it was left
            assert await has_copy(world, version)
            assert world.asked_checksums == 2

    run(test)


def test_objects_without_a_checksum_have_copies_too(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        world.checksums[version] = None
        async with running(world):
            await world.check(version)
            assert await has_copy(world, version)

    run(test)


def test_a_copy_waits_for_its_checksum(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        world.unreachable = True
        async with running(world):
            await world.check(version)
            assert not await has_copy(world, version)
            assert world.asked_checksums == 1  # not at each open
            world.unreachable = False
            world.later += 31
            assert not await has_copy(world, version)
            assert await has_copy(world, version)
            assert world.asked_checksums == 2 and facts(world)["bad_copies"] == 0

    run(test)


async def read_with_losses(world: DiskWorld, version: Version, size: int) -> None:
    """Reads that many bytes; of those in the middle the disk takes none, as one that is too slow."""

    def hold(version: Version, start: int, targets: Sequence[tuple[int, int]]) -> Callable[[], None] | None:
        return None if MIB <= start < 3 * MIB else world.reader.hold(version, start, targets)

    world.cache.attach(hold, world.checksum, world.reader)
    for offset in range(0, size, MIB):
        await world.check(version, offset, min(MIB, size - offset))
    assert world.facts["not_written"] > 0
    world.cache.attach(world.reader.hold, world.checksum, world.reader)


def test_what_was_read_through_is_completed_though_the_disk_was_too_slow(tmp_path: Path) -> None:
    """Nobody reads it again: the kernel has it."""

    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await read_with_losses(world, version, SIZE)
            asked = len(world.fetcher.requests)
            await until(lambda: facts(world)["whole"], "it is completed")
            assert {request.start // MIB for request in world.fetcher.requests[asked:]} <= {1, 2}  # what was lost, and no more
            assert facts(world)["completed"] == 1
            assert await has_copy(world, version)

    run(test)


def test_what_was_not_read_is_not_fetched_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "QUIET", 0.1)

    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await read_with_losses(world, version, SIZE - MIB)
            asked = len(world.fetcher.requests)
            await trio.sleep(3 * completing.QUIET)
            assert len(world.fetcher.requests) == asked
            assert not await has_copy(world, version)
            await trio.sleep(3 * completing.QUIET)  # what is missing is known now
            assert len(world.fetcher.requests) == asked and facts(world)["completed"] == 0

    run(test)


def tamper(path: Path, offset: int, data: bytes) -> None:
    """Changes bytes and puts mtime back, as who wants to hide it can."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("offset", [0, 2 * MIB + 5, SIZE - 1])
def test_what_was_tampered_with_is_found_and_fetched_anew(tmp_path: Path, offset: int) -> None:
    async def test() -> None:
        first = world_of(tmp_path)
        version = first.add(SIZE)
        async with running(first):
            await first.check(version)
            assert await has_copy(first, version)
        tamper(first.path(version, DATA_SUFFIX), offset, b"\xff" if first.fetcher.objects[version][offset] != 255 else b"\0")
        second = world_of(tmp_path)
        second.add(SIZE)
        async with running(second):
            assert not await has_copy(second, version)
            assert not await has_copy(second, version)
            assert facts(second)["bad_blocks"] == 1
            assert await second.check(version) == 1  # the bytes that OSS has
            assert await has_copy(second, version)

    run(test)


@pytest.mark.parametrize("change", ["longer", "shorter", "replaced", "mark"])
def test_a_file_that_is_not_the_verified_one_is_not_given(tmp_path: Path, change: str) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            assert await has_copy(world, version)
            data, sums = world.path(version, DATA_SUFFIX), world.path(version, SUMS_SUFFIX)
            if change in ("longer", "shorter"):
                os.truncate(data, SIZE + (1 if change == "longer" else -1))
            elif change == "replaced":
                other = data.with_suffix(".other")
                other.write_bytes(data.read_bytes())
                os.replace(other, data)
            else:
                tamper(sums, 4095, bytes([sums.read_bytes()[4095] ^ 1]))
            assert world.cache.copies is not None
            assert await world.cache.copies.open(version) is None

    run(test)


def test_a_file_that_is_written_while_it_is_verified_has_no_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        world = world_of(tmp_path, touch_after=0)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            await opened(world, version)
        path = world.path(version, DATA_SUFFIX)
        os.utime(path)  # the mark of the other process does not hold

        def meanwhile(view: memoryview, seed: int) -> list[int]:
            with open(path, "r+b") as file:
                file.write(world.fetcher.objects[version][:1])
            return block_sums(view, seed)

        monkeypatch.setattr(copies, "block_sums", meanwhile)
        arguments = root_of(str(tmp_path)), bytes.fromhex(path.stem), SIZE
        assert not copies.check(*arguments, memoryview(bytearray(MIB))).whole
        assert copies.open_copy(*arguments, 60) is None

    run(test)


def test_what_is_read_without_us_is_not_evicted(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        root = root_of(str(tmp_path))
        async with running(world):
            await world.check(version)
            descriptor = await opened(world, version)
            assert descriptor is not None
            kept = os.dup(descriptor)  # as the kernel has it, after we have closed ours
            os.close(descriptor)
            assert inventory.evict(root, lambda used: used).dropped == 0
            os.close(kept)
            # the process that gave it closes its own descriptor a moment after
            await until(lambda: inventory.evict(root, lambda used: used).dropped == 1, "it is evicted")
            assert list(inventory.entries(root)) == []
            assert not await has_copy(world, version)

    run(test)


def test_clearing_takes_it_away_also_from_readers_who_keep_its_bytes(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            descriptor = await opened(world, version)
            assert descriptor is not None
            for entry in inventory.entries(root_of(str(tmp_path))):
                assert inventory.drop(entry, always=True)
            assert os.pread(descriptor, SIZE, 0) == world.fetcher.objects[version]
            os.close(descriptor)
            assert not await has_copy(world, version)

    run(test)


def test_a_process_that_is_killed_is_replaced_and_nobody_waits(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            assert await has_copy(world, version)
            assert world.cache.copies is not None
            (pid,) = world.cache.copies.pids()
            os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            while not await has_copy(world, version):
                assert time.monotonic() < begun + 60
                await trio.sleep(0.01)
            assert facts(world)["restarts"] == 1

    run(test)


async def stop(pid: int) -> None:
    """SIGSTOP, until it holds all threads: one that still runs would answer."""
    os.kill(pid, signal.SIGSTOP)
    states = Path(f"/proc/{pid}/task").glob
    await until(lambda: all(_state(path) == "T" for path in states("*/stat")), "it is stopped")


def _state(stat: Path) -> str:
    return stat.read_text().rpartition(")")[2].split()[0]


def test_an_open_does_not_wait_for_ever_for_a_disk_that_hangs(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path, slow_after=0.5)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            await until(lambda: facts(world)["whole"] == 1, "it is whole")
            assert world.cache.copies is not None
            (pid,) = world.cache.copies.pids()
            await stop(pid)
            assert await world.cache.copies.open(version) is None
            assert world.state(tmp_path)["problem"] == "it is too slow"
            assert await world.cache.copies.open(version) is None, "the folder is off"

    run(test)


def test_a_copy_that_nobody_waits_for_any_more_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        world = world_of(tmp_path)
        version = world.add(SIZE)
        async with running(world):
            await world.check(version)
            await until(lambda: facts(world)["whole"] == 1, "it is whole")
            assert world.cache.copies is not None
            (pid,) = world.cache.copies.pids()
            await stop(pid)
            try:
                with trio.move_on_after(0.05) as waiting:
                    await world.cache.copies.open(version)
                assert waiting.cancelled_caught
                before = len(os.listdir("/proc/self/fd"))
            finally:
                os.kill(pid, signal.SIGCONT)
            assert await has_copy(world, version)  # what was asked before it was answered before it
            await until(lambda: len(os.listdir("/proc/self/fd")) <= before, "it is closed")

    run(test)


class Told:
    """A helper that only takes down what it is told."""

    def __init__(self) -> None:
        self.checks: list[int] = []
        self.restarts = 0

    def send(self, message: messages.Message) -> bool:
        assert message[0] == messages.CHECK
        self.checks.append(message[1])
        return True


def test_bytes_that_are_stored_while_it_is_checked_are_not_forgotten(tmp_path: Path) -> None:
    """The check may have looked before they were there: then it is made once more."""
    slab = Slab(MIB)
    places = Places([str(tmp_path)], time.monotonic)
    whole = WholeCopies({}, "store", places, slab, 60.0)
    told = Told()
    whole._helper = told  # type: ignore[assignment]
    try:
        place, name, version = places.all[0], bytes(20), Version(b"object", "etag", SIZE)
        for length in (MIB, MIB, SIZE - 2 * MIB):
            assert not told.checks
            whole.written(place, name, version, length)
        assert len(told.checks) == 1
        whole.written(place, name, version, 4096)
        whole._take((messages.CHECKED, told.checks[0], 8192, 0, False, False, 0, -1))
        assert len(told.checks) == 1, "4,096 are still missing"
        whole.written(place, name, version, 4096)
        assert len(told.checks) == 2
        whole.written(place, name, version, 4096)
        whole._take((messages.CHECKED, told.checks[1], 4096, 0, False, False, 0, -1))
        assert len(told.checks) == 3
        whole._take((messages.CHECKED, told.checks[2], 0, 0, True, False, 0, -1))
        assert len(told.checks) == 3 and whole.facts()["whole"] == 1
    finally:
        slab.close()
