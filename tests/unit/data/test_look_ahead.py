"""Whole small files fetched before they are read, and stored in the kernel's page cache."""

from __future__ import annotations

import errno

import pytest

from ossmount.data.interface import Outcome
from ossmount.errors import Changed, OssMountError, Unavailable
from ossmount.model import Version
from tests.unit.data.fake_fetcher import KIB, MIB, World


def files(world: World, count: int, size: int = 100 * KIB) -> list[Version]:
    return [world.add(size, f"file {number}") for number in range(count)]


def test_staged_files_are_whole_fetches_without_a_reader_and_then_hits() -> None:
    with World() as world:
        versions = files(world, 20)
        outcomes = [world.prefetch(version) for version in versions]
        assert [request.version for request in world.fetcher.requests] == versions
        assert all(not request.demand and request.length == 100 * KIB for request in world.fetcher.requests)
        world.fetcher.complete_all()
        assert outcomes == [[Outcome.STAGED]] * 20
        for version in versions:
            assert world.read(version, 0, 128 * KIB).data == world.data(version, 0, 128 * KIB)
        assert len(world.fetcher.requests) == 20
        assert world.kernel.pending == []


def test_a_file_goes_to_the_kernel_and_its_memory_comes_free() -> None:
    with World() as world:
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        world.fetcher.complete_all()
        assert outcome == []
        store = world.kernel.end()
        assert (store.node, store.data) == (7, world.data(version, 0, version.size))
        assert outcome == [Outcome.STORED]
        assert world.reader.facts()["memory_free"] == world.slab.size
        assert world.read_through(version, 0, 4096) == world.data(version, 0, 4096)  # the kernel dropped it
        assert len(world.fetcher.requests) == 2


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EIO])
def test_what_the_kernel_does_not_take_stays_in_memory(code: int) -> None:
    with World() as world:
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        world.fetcher.complete_all()
        world.kernel.end(code)
        assert outcome == [Outcome.STAGED]
        assert world.read(version, 0, 4096).data == world.data(version, 0, 4096)
        assert len(world.fetcher.requests) == 1


def test_without_a_kernel_it_stays_in_memory() -> None:
    with World() as world:
        world.kernel.present = False
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        world.fetcher.complete_all()
        assert outcome == [Outcome.STAGED]


def test_while_a_file_is_stored_its_reads_need_no_fetch() -> None:
    with World(memory=2 * MIB) as world:
        (version,) = files(world, 1)
        world.prefetch(version, node=7)
        world.fetcher.complete_all()
        world.reader.forget(version)
        world.reader.give_back(version)
        others = [world.add(MIB - 4096, f"other {number}") for number in range(3)]
        answers = [world.read(other, 0, MIB - 4096) for other in others]
        assert world.read(version, 0, 128 * KIB).data == world.data(version, 0, 128 * KIB)
        assert all(request.version in others for request in world.fetcher.requests[1:])
        world.kernel.end()
        world.fetcher.complete_all()
        assert [answer.data for answer in answers] == [world.data(other, 0, MIB - 4096) for other in others]


def test_what_is_forgotten_while_it_is_stored_is_dropped_afterwards() -> None:
    with World() as world:
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        world.fetcher.complete_all()
        world.reader.forget(version)
        world.kernel.end(errno.ENOENT)
        assert outcome == [Outcome.FAILED]
        assert world.reader.facts()["memory_free"] == world.slab.size


def test_a_reader_joins_and_promotes_and_then_nothing_is_stored() -> None:
    with World() as world:
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        answer = world.read(version, 0, 4096)
        assert world.fetcher.pending[0].promoted
        world.fetcher.complete_all()
        assert answer.data == world.data(version, 0, 4096)
        assert outcome == [Outcome.READ]
        assert world.kernel.pending == []


def test_large_empty_and_present_files_are_left_out() -> None:
    with World() as world:
        (present,) = files(world, 1)
        world.read_through(present, 0, 4096)
        wanted = world.add(5, "wanted")
        for version in (world.add(MIB + 1, "large"), world.add(0, "empty"), present):
            assert world.prefetch(version) == [Outcome.LEFT_OUT]
        assert world.prefetch(wanted) == []
        assert world.prefetch(wanted) == [Outcome.LEFT_OUT]
        assert [fetch.request.version for fetch in world.fetcher.pending] == [wanted]
        world.fetcher.complete_all()


@pytest.mark.parametrize("error", [Changed("412"), Unavailable("reset")])
def test_failures_are_quiet(error: OssMountError) -> None:
    with World() as world:
        (version,) = files(world, 1)
        outcome = world.prefetch(version, node=7)
        world.fetcher.fail(error)
        assert outcome == [Outcome.FAILED]
        assert world.read_through(version, 0, 4096) == world.data(version, 0, 4096)


def test_a_fetcher_that_fails_at_once() -> None:
    with World() as world:
        world.fetcher.fail_at_once = Unavailable("no process")
        assert [world.prefetch(version, node=7) for version in files(world, 50, 10)] == [[Outcome.FAILED]] * 50
        assert world.reader.facts()["pages"] == 0


def test_half_of_the_memory_until_readers_go_on() -> None:
    with World(memory=4 * MIB) as world:
        versions = files(world, 22)
        taken = [world.prefetch(version) is not None for version in versions]
        assert taken == [True] * 20 + [False] * 2
        world.fetcher.complete_all()
        assert world.prefetch(versions[20]) is None
        world.read(versions[0], 0, 128 * KIB)
        assert world.prefetch(versions[20]) == []
        world.fetcher.complete_all()


def test_what_is_given_back_is_free() -> None:
    with World(memory=4 * MIB) as world:
        versions = files(world, 10)
        outcomes = [world.prefetch(version) for version in versions]
        for _ in range(5):
            world.fetcher.complete()
        for version in versions:
            world.reader.give_back(version)
        world.fetcher.end_cancelled()
        assert world.fetcher.pending == []
        assert outcomes == [[Outcome.STAGED]] * 5 + [[Outcome.FAILED]] * 5
        assert world.reader.facts()["memory_free"] == world.slab.size
        assert world.reader.facts()["memory_unread"] == 0


def test_what_a_reader_waits_for_or_has_read_is_not_given_back() -> None:
    with World() as world:
        first, second = files(world, 2)
        world.prefetch(first)
        answer = world.read(first, 0, 4096)
        world.reader.give_back(first)
        world.fetcher.complete_all()
        assert answer.data == world.data(first, 0, 4096)
        world.read_through(second, 0, 4096)
        world.reader.give_back(second)
        world.read(second, 0, 4096)
        assert len(world.fetcher.requests) == 2


def test_demand_goes_first() -> None:
    with World(memory=MIB) as world:
        for version in files(world, 60):
            world.prefetch(version)
        others = [world.add(300 * KIB, f"other {number}") for number in range(5)]
        answers = [world.read(version, 0, 300 * KIB) for version in others]
        assert any(fetch.cancelled for fetch in world.fetcher.pending)
        assert world.prefetch(world.add(KIB, "small")) is None
        world.fetcher.end_cancelled()
        world.fetcher.complete_all()
        for version, answer in zip(others, answers, strict=True):
            assert answer.data == world.data(version, 0, 300 * KIB)


def test_the_end_of_an_older_fetch_is_not_taken_for_the_end_of_this_one() -> None:
    with World() as world:
        (version,) = files(world, 1)
        world.read(version, 0, 4096)
        world.reader.forget(version)
        outcome = world.prefetch(version, node=7)
        older, newer = world.fetcher.pending
        world.fetcher.complete(older)
        assert (outcome, world.kernel.pending) == ([], [])
        world.fetcher.complete(newer)
        assert world.kernel.pending[0].data == world.data(version, 0, version.size)
        world.kernel.end()
