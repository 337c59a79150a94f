"""Versions that are dropped: nothing of them is read from the disk any more, whatever is being written just then."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import trio

from ossmount.data.disk.layout import DATA_SUFFIX, PIN_SUFFIX, SUMS_SUFFIX, WHOLE_SUFFIX
from tests.unit.data.disk.world import MIB, DiskWorld, running, until

SIZES = [5000, 700_000, 3 * MIB + 77]


def test_what_is_dropped_is_fetched_anew_and_its_pin_stays(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        versions, kept = [world.add(size) for size in SIZES], world.add(60_000, "kept")
        async with running(world):
            for version in (*versions, kept):
                await world.check(version)
            pin = world.path(versions[0], PIN_SUFFIX)
            pin.touch()
            for version in versions:
                world.cache.drop(version)
            await until(lambda: world.facts["dropped_versions"] == len(versions), "they are dropped")
            for version in versions:
                assert not any(world.path(version, suffix).exists() for suffix in (WHOLE_SUFFIX, DATA_SUFFIX, SUMS_SUFFIX))
            assert pin.exists() and await world.check(kept) == 0
            for version in versions:
                assert await world.check(version) > 0
                assert await world.check(version) == 0

    trio.run(test)


def test_a_version_that_is_being_written_is_dropped_behind_that(tmp_path: Path) -> None:
    """And is neither read nor written until then."""

    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(3 * MIB)
        async with running(world):
            await world.check(world.add(4096, "first"))  # the processes work
            world.cache.attach(world.reader.hold)
            writer = world.facts["pids"][1]
            os.kill(writer, signal.SIGSTOP)
            try:
                await world.read(version)
                assert world.facts["writing"] > 0
                world.cache.drop(version)
                before = len(world.fetcher.requests)
                written = world.facts["writing"]
                assert await world.read(version) == world.fetcher.objects[version]
                assert len(world.fetcher.requests) > before and world.facts["writing"] == written
                assert world.facts["dropped_versions"] == 0
            finally:
                os.kill(writer, signal.SIGCONT)
            await until(lambda: world.facts["dropped_versions"] == 1, "it is dropped")
            assert not world.path(version, DATA_SUFFIX).exists()
            assert await world.check(version) > 0
            assert await world.check(version) == 0

    trio.run(test)


def test_the_next_process_drops_what_the_last_one_did_not(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version, other = world.add(5000), world.add(5000, "other")
        async with running(world):
            await world.check(version)
            writer = world.facts["pids"][1]
            os.kill(writer, signal.SIGSTOP)
            world.cache.drop(version)
            os.kill(writer, signal.SIGKILL)
            await until(lambda: len(world.facts["pids"]) == 2 and writer not in world.facts["pids"], "another process")
            await world.check(other)  # each fetch asks for it again
            await until(lambda: world.facts["dropped_versions"] == 1, "it is dropped")
            assert not world.path(version, WHOLE_SUFFIX).exists()
            assert await world.check(version) > 0

    trio.run(test)


def test_a_version_that_cannot_be_removed_is_not_read_any_more(tmp_path: Path) -> None:
    async def test() -> None:
        world = DiskWorld([tmp_path])
        version = world.add(5000)
        async with running(world):
            await world.check(version)
            path = world.path(version, WHOLE_SUFFIX)
            path.unlink()
            path.mkdir()  # unlink() of a folder fails, also for root
            world.cache.drop(version)
            await trio.sleep(0.2)  # in front of what must not happen
            assert world.facts["dropped_versions"] == 0
            assert await world.check(version) > 0
            assert await world.check(version) > 0

    trio.run(test)
