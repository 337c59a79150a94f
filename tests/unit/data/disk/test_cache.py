"""The disk cache with its real processes: every byte against the objects, whatever happens to the disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from ossmount.data.disk.keeper import prepare, root_of
from ossmount.data.disk.layout import DATA_SUFFIX, SUMS_SUFFIX, WHOLE_SUFFIX
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest
from tests.unit.data.disk.world import MIB, DiskWorld, running, until

SIZES = [1, 4095, 4096, 4097, 110_000, 128 << 10, (128 << 10) + 1, 700_000, MIB, MIB + 1, 3 * MIB + 77]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    trio.run(main)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB. Needs root."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True, timeout=60)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=60)


def test_what_was_read_is_read_again_from_the_disk_also_by_the_next_mount(tmp_path: Path) -> None:
    async def test() -> None:
        first = DiskWorld([tmp_path])
        versions = [first.add(size) for size in SIZES]
        async with running(first):
            for version in versions:
                assert await first.check(version) > 0
                assert await first.check(version) == 0
            assert first.facts["bytes_read"] >= sum(SIZES)
            assert first.facts["not_written"] == first.facts["bad_blocks"] == first.facts["bytes_held"] == 0
        second = DiskWorld([tmp_path])
        async with running(second):
            for size in SIZES:
                assert await second.check(second.add(size)) == 0

    run(test)


def test_other_versions_and_other_keys_are_other_objects(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(5000)
        async with running(world):
            await world.check(version)
            for other in (version._replace(etag="other"), version._replace(key=b"other"), version._replace(size=4999)):
                world.fetcher.objects[other] = random.Random(str(other)).randbytes(other.size)
                assert await world.check(other) == 1
            world.fetcher.objects[version._replace(etag="")] = world.fetcher.objects[version]
            for _ in range(2):  # without an ETag there is no identity
                assert await world.check(version._replace(etag="")) == 1

    run(test)


def test_parts_of_a_large_object(tmp_path: Path) -> None:
    """What was read in parts is not asked for again; what was not is, and nothing else."""

    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(8 * MIB + 5)
        async with running(world):
            assert await world.check(version, 5 * MIB, 64 << 10) == 1
            assert await world.check(version, 5 * MIB + 4096, 4096) == 0
            assert await world.check(version, 8 * MIB, 5) == 1
            world.fetcher.requests.clear()
            await world.check(version, 4 * MIB + (900 << 10), 300 << 10)
            ranges = [(request.start, request.start + request.length) for request in world.fetcher.requests]
            cached = (5 * MIB, 5 * MIB + (64 << 10))
            assert (ranges and all(end <= cached[0] or start >= cached[1] for start, end in ranges)) or len(ranges) == 1
            assert world.path(version, DATA_SUFFIX).stat().st_size == version.size
            content = world.path(version, DATA_SUFFIX).read_bytes()
            assert content[5 * MIB : 5 * MIB + 65536] == world.fetcher.objects[version][5 * MIB : 5 * MIB + 65536]

    run(test)


def test_two_mounts_share_a_folder(tmp_path: Path) -> None:
    async def test() -> None:
        worlds = [DiskWorld([tmp_path]), DiskWorld([tmp_path])]
        versions = [[world.add(size) for size in SIZES] for world in worlds]
        async with running(*worlds):
            for number in range(len(SIZES)):
                reader, other = (0, 1) if number % 2 else (1, 0)
                async with trio.open_nursery() as nursery:  # both at once, then both again
                    nursery.start_soon(worlds[0].read, versions[0][number], 0, 5000)
                    nursery.start_soon(worlds[1].read, versions[1][number], 0, 5000)
                await worlds[reader].check(versions[reader][number])
                assert await worlds[other].check(versions[other][number]) == 0

    run(test)


def test_random_reads_with_damage_evictions_and_deaths(tmp_path: Path) -> None:
    """Little memory, small windows; cache files are damaged and removed and processes are killed between the reads."""

    async def test() -> None:
        order = random.Random(3)
        world = DiskWorld([tmp_path / "a", tmp_path / "b"], memory=2 * MIB)
        versions = [world.add(size, f"object {number}") for number, size in enumerate([*SIZES, 9 * MIB])]
        async with running(world):

            async def read_some(count: int) -> None:
                for _ in range(count):
                    version = order.choice(versions)
                    offset = order.choice([0, order.randrange(version.size)])
                    size = order.choice([1, 4096, 65536, 131072, 400_000])
                    assert await world.read(version, offset, size) == world.fetcher.objects[version][offset : offset + size]

            for turn in range(30):
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(read_some, 8)
                    if turn % 6 == 5:
                        for pid in world.cache.pids():
                            os.kill(pid, signal.SIGKILL)
                files = sorted(tmp_path.glob("*/*/??/*"))
                for path in order.sample(files, min(3, len(files))):
                    with contextlib.suppress(FileNotFoundError):  # the disk processes remove files as well
                        damage(path, order)
            await world.written()
            assert world.facts["bytes_held"] == 0  # how often damage is met depends on how fast the disk processes are
        assert world.reader.facts()["memory_held"] == 0

    run(test)


def damage(path: Path, order: random.Random) -> None:
    """Flips a bit, cuts the end off, writes garbage, or removes the file."""
    size = max(1, path.stat().st_size)
    what = order.randrange(4)
    if what == 3:
        path.unlink()
        return
    with open(path, "r+b") as file:
        if what == 0:
            at = order.randrange(size)
            file.seek(at)
            byte = (file.read(1) or b"\0")[0]  # a pin has no bytes
            file.seek(at)
            file.write(bytes([byte ^ 1 << order.randrange(8)]))
        elif what == 1:
            file.truncate(order.randrange(size))
        else:
            file.seek(order.randrange(size))
            file.write(order.randbytes(5000))


@pytest.mark.parametrize("size", [5000, 3 * MIB])
def test_a_flipped_bit_is_a_miss_counted_and_healed(tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(size)
        async with running(world):
            await world.check(version)
            path = world.path(version, WHOLE_SUFFIX if size < MIB else DATA_SUFFIX)
            with open(path, "r+b") as file:
                file.seek(4500)
                byte = file.read(1)[0]
                file.seek(4500)
                file.write(bytes([byte ^ 16]))
            assert await world.check(version) == 1
            assert world.facts["bad_blocks"] == 1
            assert "do not verify" in caplog.text
            assert await world.check(version) == 0

    run(test)


def test_a_full_disk_is_not_written_and_reading_goes_on(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = DiskWorld([small_disk])
        (small_disk / "filler").write_bytes(bytes(3 * MIB + (700 << 10)))
        versions = [world.add(size, f"object {number}") for number, size in enumerate([100_000] * 8 + [2 * MIB])]
        async with running(world):
            for _ in range(2):
                for version in versions:
                    await world.check(version)
            assert world.facts["not_written"] > 0
            assert world.facts["bytes_written"] > 100_000

    run(test)


def test_a_disk_that_fills_up_between_the_check_and_the_write(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """tmpfs has no blocks for the last write although it had when asked: ENOSPC in the middle of a file."""

    async def test() -> None:
        world = DiskWorld([small_disk])
        subprocess.run(["mount", "-o", "remount,nr_inodes=6", str(small_disk)], check=True, timeout=60)
        versions = [world.add(5000, f"object {number}") for number in range(6)]
        async with running(world):
            for version in versions:
                await world.check(version)
            assert world.state(small_disk)["problem"] == "it is full"
            assert world.state(small_disk)["state"] == "read-only"
            assert caplog.text.count("it is full; nothing is written to it") == 1

    run(test)


def test_a_disk_that_becomes_read_only_is_read_on(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = DiskWorld([small_disk])
        version, other = world.add(5000), world.add(6000)
        async with running(world):
            await world.check(version)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=60)
        world = DiskWorld([small_disk], touch_after=0.0)
        version, other = world.add(5000), world.add(6000)
        async with running(world):
            await until(lambda: world.state(small_disk)["state"] == "read-only", "the folder was looked at")
            for _ in range(2):
                assert await world.check(version) == 0
                assert await world.check(other) == 1
            assert "it cannot be written (Read-only file system)" in caplog.text

    run(test)


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        (tmp_path / "file").touch()
        world = DiskWorld([tmp_path / "file" / "cache"])
        version = world.add(5000)
        async with running(world):
            await until(lambda: "cannot be written (Not a directory)" in caplog.text, "a warning")
            for _ in range(8):
                assert await world.check(version) == 1

    run(test)


@pytest.mark.parametrize("how", ["writable by others", "of another user"])
def test_a_folder_that_others_could_have_filled_is_not_believed(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(5000)
        async with running(world):
            await world.check(version)
        if how == "of another user":
            os.chown(root_of(str(tmp_path)), 4711, 4711)
        else:
            os.chmod(root_of(str(tmp_path)), 0o777)
        world = DiskWorld([tmp_path])
        version = world.add(5000)
        async with running(world):
            assert await world.check(version) == 1
            await until(lambda: "cannot be written (" + root_of(str(tmp_path)) in caplog.text, "a warning")

    run(test)


def test_a_disk_that_hangs_is_switched_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A FIFO where the file should be: open() does not return."""

    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(5000)
        path = world.path(version, WHOLE_SUFFIX)
        prepare(str(tmp_path))
        path.parent.mkdir()
        os.mkfifo(path)  # before the names are listed: what is not there is not asked for
        async with running(world):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.check, version)
                await until(lambda: world.facts["reading"], "the read is under way")
                world.later += 1000
            assert world.state(tmp_path)["state"] == "off"
            assert "it is too slow" in caplog.text
            for _ in range(3):  # nobody asks it any more
                assert await world.check(version) == 1
            path.unlink()
            world.later += 1000
            await until(lambda: len(world.cache.pids()) == 2, "a new process reads")
            assert await world.check(version) == 1
            assert await world.check(version) == 0
            assert world.state(tmp_path)["state"] == "on"

    run(test)


def test_a_disk_that_is_slower_than_what_is_asked_of_it_is_passed_by(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        versions = [world.add(5000, f"object {number}") for number in range(66)]
        prepare(str(tmp_path))
        for version in versions:  # empty files: they are asked for
            world.path(version, WHOLE_SUFFIX).parent.mkdir(exist_ok=True)
            world.path(version, WHOLE_SUFFIX).touch()
        async with running(world), trio.open_nursery() as nursery:
            reader = world.cache.pids()[0]
            await stop(reader)
            for version in versions[:65]:
                nursery.start_soon(world.check, version)
            await until(lambda: world.facts["reading"] == 65, "so many are asked for")
            world.later += 5
            assert await world.read(versions[65]) == world.fetcher.objects[versions[65]]
            assert world.facts["bypassed"] == 1
            os.kill(reader, signal.SIGCONT)

    run(test)


async def stop(pid: int) -> None:
    """Stops a process, and waits until it is: on a busy machine its threads may go on for a while after the signal."""

    def stopped() -> bool:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    os.kill(pid, signal.SIGSTOP)
    await until(stopped, "all its threads have stopped")


def test_a_writer_that_hangs_gives_the_memory_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(MIB)
        async with running(world):
            await until(lambda: os.path.isdir(root_of(str(tmp_path))), "the folder is made")
            await stop(world.cache.pids()[1])
            assert await world.read(version) == world.fetcher.objects[version]
            assert world.facts["bytes_held"] == MIB and world.reader.facts()["memory_held"] == MIB
            world.later += 1000
            await world.written()
            assert world.facts["bytes_held"] == 0 and world.reader.facts()["memory_held"] == 0
            assert "it is too slow" in caplog.text

    run(test)


def test_a_writer_that_is_behind_does_not_hang_as_long_as_it_writes(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        versions = [world.add(MIB, f"object {number}") for number in range(2)]
        async with running(world):
            await until(lambda: os.path.isdir(root_of(str(tmp_path))), "the folder is made")
            await stop(world.cache.pids()[1])
            for version in versions:
                assert await world.read(version) == world.fetcher.objects[version]
            writes = world.cache._writes
            first, _ = writes._under_way
            world.later += 1000  # no checkpoint from here on, so that nobody else looks
            assert world.cache._writes_hang()
            writes.ended(first, MIB, 0)
            assert not world.cache._writes_hang()
            world.later += 1000
            assert world.cache._writes_hang()

    run(test)


def test_a_writer_that_is_behind_holds_no_more_than_its_share(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path], memory=16 * MIB)
        versions = [world.add(MIB, f"object {number}") for number in range(20)]
        async with running(world):
            await until(lambda: os.path.isdir(root_of(str(tmp_path))), "the folder is made")
            writer = world.cache.pids()[1]
            await stop(writer)
            for version in versions:
                assert await world.read(version) == world.fetcher.objects[version]
                assert world.facts["bytes_held"] <= 4 * MIB
            assert world.facts["not_written"] == 16
            os.kill(writer, signal.SIGCONT)
            await world.written()
            assert [await world.check(version) for version in versions[:5]] == [0, 0, 0, 0, 1]

    run(test)


def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    async def test() -> None:
        first = DiskWorld([tmp_path])
        async with running(first):
            for number in range(10):
                await first.read(first.add(MIB, f"object {number}"))
        second = DiskWorld([tmp_path])
        async with running(second):
            for number in range(10):
                assert await second.check(second.add(MIB, f"object {number}")) == 0

    run(test)


def test_the_end_does_not_wait_for_a_writer_that_hangs(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path], end_within=0.1)
        async with running(world):
            await stop(world.cache.pids()[1])
            await world.read(world.add(MIB))
            assert world.facts["writing"] == 1
        assert world.facts["writing"] == 0 and world.cache.pids() == []

    run(test)


def test_several_folders_share_the_objects(tmp_path: Path) -> None:
    async def test() -> None:
        folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
        world = DiskWorld(folders)
        versions = [world.add(2000, f"object {number}") for number in range(90)]
        async with running(world):
            for version in versions:
                await world.check(version)
        counts = [len(list(folder.glob("*/??/*"))) for folder in folders]
        assert sum(counts) == 90 and min(counts) > 15
        world = DiskWorld(folders[:2])  # the objects of the other two stay where they are
        async with running(world):
            found = 0
            for number in range(90):
                found += await world.check(world.add(2000, f"object {number}")) == 0
            assert found == counts[0] + counts[1]

    run(test)


def test_the_processes_end_with_the_cache_and_with_the_daemon(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        async with running(world):
            pids = world.cache.pids()
            assert len(pids) == 2
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)

    run(test)
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    with contextlib.ExitStack() as stack:
        stack.callback(daemon.wait)
        stack.callback(daemon.kill)
        assert daemon.stdout is not None
        stack.callback(daemon.stdout.close)
        pids = [int(word) for word in daemon.stdout.readline().split()]
        assert len(pids) == 2
        daemon.kill()
        daemon.wait()

        async def gone() -> None:
            await until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids), "they have ended")

        trio.run(gone)


_DAEMON = """
import sys, trio
from pathlib import Path
from ossmount.config import DiskConfig
from ossmount.data.disk.cache import DiskCache
from ossmount.data.slab import Slab

async def main():
    slab = Slab(1 << 20)
    cache = DiskCache(None, slab, DiskConfig((Path(sys.argv[1]),), "store"))
    await cache.run(lambda: print(*cache.pids(), flush=True))

trio.run(main)
"""


def test_the_sums_of_another_object_do_not_verify(tmp_path: Path) -> None:
    """Files that are found under a wrong name, as after a repair of the file system, hold no bytes for it."""

    async def test() -> None:
        world = DiskWorld([tmp_path])
        one, two, large, huge = (
            world.add(size, name) for size, name in ((5000, "a"), (5000, "b"), (MIB * 2, "c"), (MIB * 2, "d"))
        )
        async with running(world):
            for version in (one, two, large, huge):
                await world.check(version)
            os.replace(world.path(one, WHOLE_SUFFIX), world.path(two, WHOLE_SUFFIX))
            for suffix in (DATA_SUFFIX, SUMS_SUFFIX):
                os.replace(world.path(large, suffix), world.path(huge, suffix))
            assert await world.check(two) == 1
            assert await world.check(huge) > 0
            assert world.facts["bad_blocks"] == 1 + 512

    run(test)


def test_what_is_written_is_what_was_fetched_also_when_the_version_is_forgotten_meanwhile(tmp_path: Path) -> None:
    """Two fetches of one version are under way, as its pages were forgotten; the first one's memory is used again at once."""

    async def test() -> None:
        world = DiskWorld([tmp_path], memory=16 * MIB)
        version = world.add(MIB)
        others = [world.add(MIB, f"other {number}") for number in range(16)]
        held: list[Callable[[], None]] = []
        fetch = world.fetcher.fetch

        def later(request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
            if request.version != version:
                return fetch(request, done, progress)
            held.append(lambda: ignore(fetch(request, done, progress)))
            return len(held)

        async with running(world):
            await until(lambda: os.path.isdir(root_of(str(tmp_path))), "the folder is made")
            world.fetcher.fetch = later  # type: ignore[method-assign]
            writer = world.cache.pids()[1]
            await stop(writer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.read, version)
                await until(lambda: len(held) == 1, "the first fetch is under way")
                world.reader.forget(version)
                nursery.start_soon(world.read, version)
                await until(lambda: len(held) == 2, "the second fetch is under way")
                held[0]()
                for other in others:
                    assert await world.read(other) == world.fetcher.objects[other]
                os.kill(writer, signal.SIGCONT)
                await world.written()
                held[1]()
            await world.written()
        after = DiskWorld([tmp_path])
        after.fetcher.objects.update(world.fetcher.objects)
        async with running(after):
            await after.check(version)

    run(test)


def ignore(_: object) -> None:
    pass
