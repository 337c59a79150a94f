"""Larger objects against their checksum: what is compared, what a reader is told, what is dropped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastcrc import crc64

from ossmount.data.integrity import one_in
from ossmount.errors import Corrupted, OssMountError, Unavailable
from ossmount.model import Version
from tests.unit.data.fake_fetcher import KIB, MIB, Answer, Fetch, World

STEP = 128 * KIB


@pytest.fixture
def world() -> Iterator[World]:
    with World(verify=1) as made:
        yield made


def facts(world: World) -> dict[str, object]:
    assert world.integrity is not None
    return world.integrity.facts()


def read_to_the_end(world: World, version: Version) -> list[Answer]:
    answers = []
    for offset in range(0, version.size, STEP):
        answers.append(world.read(version, offset, STEP))
        while answers[-1].waiting:
            world.fetcher.complete()
    return answers


def test_an_object_that_is_right(world: World) -> None:
    version = world.add(5 * MIB + 77)
    for answer, offset in zip(read_to_the_end(world, version), range(0, version.size, STEP), strict=True):
        assert answer.data == world.data(version, offset, STEP)
    assert facts(world)["covered"] == 1 and facts(world)["corrupted"] == 0 and facts(world)["in_work"] == 0
    assert world.damaged == []


def test_who_reads_to_the_end_is_told_at_the_latest_with_the_last_read(world: World) -> None:
    version = world.add(5 * MIB + 77)
    world.fetcher.told[version] = 17
    answers = read_to_the_end(world, version)
    assert isinstance(answers[-1].error, Corrupted)
    assert [(damaged, type(error)) for damaged, error in world.damaged] == [(version, Corrupted)]
    assert facts(world)["corrupted"] == 1


def test_nothing_of_it_is_read_for_a_minute_and_then_it_is_fetched_and_checked_anew(world: World) -> None:
    version, other = world.add(2 * MIB), world.add(2 * MIB, "other")
    world.fetcher.told[version] = 17
    read_to_the_end(world, version)
    world.fetcher.complete_all()
    asked = len(world.fetcher.requests)
    for seconds in (0, 30, 29):
        world.now += seconds
        assert isinstance(world.read(version, 0, 4096).error, Corrupted)
        assert isinstance(world.read(version, MIB, 4096).error, Corrupted)
    assert len(world.fetcher.requests) == asked
    assert world.read_through(other, 0, 4096) == world.data(other, 0, 4096)
    world.fetcher.complete_all()
    world.now += 2
    del world.fetcher.told[version]
    assert [answer.error for answer in read_to_the_end(world, version)] == [None] * (2 * MIB // STEP)
    assert facts(world)["covered"] == 1


def complete_damaged(world: World, fetch: Fetch) -> None:
    """Completes a fetch with a wrong byte in it, of which its checksum knows nothing."""
    version, at = fetch.request.version, fetch.range[1] - 1
    good = world.fetcher.objects[version]
    world.fetcher.told[version] = crc64.xz(good)
    world.fetcher.objects[version] = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    world.fetcher.complete(fetch)
    world.fetcher.objects[version] = good


@pytest.mark.parametrize("place", [0, MIB, 2 * MIB - 4096])
def test_the_range_that_covers_the_object_is_fetched_again_before_anybody_is_told(place: int) -> None:
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        for start, end in ((0, place), (place + 4096, 2 * MIB)):
            read_range(world, version, start, end)
        answer = world.read(version, place, 4096)
        (fetch,) = world.fetcher.pending
        complete_damaged(world, fetch)
        assert answer.waiting
        (again,) = world.fetcher.pending
        assert again.range == fetch.range and again.request.demand
        world.fetcher.complete(again)
        assert answer.data == world.data(version, place, 4096)
        assert (facts(world)["asked_again"], facts(world)["covered"], facts(world)["corrupted"]) == (1, 1, 0)
        assert world.damaged == []


@pytest.mark.parametrize("error", [None, Unavailable("reset")])
def test_what_is_wrong_a_second_time_or_cannot_be_had_is_corrupted(error: OssMountError | None) -> None:
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        read_range(world, version, 0, 2 * MIB - 4096)
        answer = world.read(version, 2 * MIB - 4096, 4096)
        complete_damaged(world, world.fetcher.pending[0])
        (again,) = world.fetcher.pending
        if error is None:
            complete_damaged(world, again)
        else:
            world.fetcher.fail(error, again)
        assert isinstance(answer.error, Corrupted)
        assert (facts(world)["asked_again"], facts(world)["covered"], facts(world)["corrupted"]) == (1, 0, 1)


def test_of_the_range_that_covers_the_object_nothing_is_given_out_before_it_is_judged() -> None:
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        read_range(world, version, MIB, 2 * MIB)
        answer = world.read(version, 0, MIB)
        (fetch,) = world.fetcher.pending
        world.fetcher.receive(fetch, fetch.request.length - 1)
        assert answer.waiting
        complete_damaged(world, fetch)
        world.fetcher.complete()
        assert answer.data is not None and facts(world)["corrupted"] == 0


def test_a_range_of_which_bytes_were_given_out_is_not_fetched_again() -> None:
    """They may have been the wrong ones."""
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        first, last = world.read(version, 0, MIB), world.read(version, MIB, MIB)
        early, late = world.fetcher.pending
        world.fetcher.receive(late, late.request.length - 4096)
        world.fetcher.complete(early)
        complete_damaged(world, late)
        assert first.data is not None and isinstance(last.error, Corrupted)
        assert (facts(world)["asked_again"], facts(world)["corrupted"]) == (0, 1)


def test_reads_that_wait_for_other_parts_of_it_fail_too(world: World) -> None:
    version = world.add(8 * MIB)
    world.fetcher.told[version] = 17
    waiting = [world.read(version, offset, 2 * STEP) for offset in (3 * MIB - STEP, 5 * MIB)]
    joined = world.read(version, 3 * MIB - STEP, 4096)
    late = list(world.fetcher.pending)
    read_range(world, version, 0, 3 * MIB - STEP)
    read_range(world, version, 3 * MIB + STEP, 5 * MIB)
    read_range(world, version, 5 * MIB + 2 * STEP, 8 * MIB)
    assert all(answer.waiting for answer in (*waiting, joined))
    again = world.read(version, 4 * MIB, 4096)  # of what lies in memory
    assert again.data is not None
    world.fetcher.complete(late[0])  # nothing is covered yet: it is answered
    assert waiting[0].data is not None and joined.data is not None
    world.fetcher.complete(late[1])
    world.fetcher.complete()  # a second time
    assert isinstance(waiting[1].error, Corrupted)
    assert isinstance(world.read(version, 4 * MIB, 4096).error, Corrupted)  # memory has nothing of it any more


def read_range(world: World, version: Version, start: int, end: int) -> None:
    """Has a range fetched, and nothing else ended."""
    held = set(map(id, world.fetcher.pending))
    for offset in range(start, end, STEP):
        answer = world.read(version, offset, min(STEP, end - offset))
        while answer.waiting:
            world.fetcher.complete(next(fetch for fetch in world.fetcher.pending if id(fetch) not in held))
    for fetch in [fetch for fetch in world.fetcher.pending if id(fetch) not in held]:
        world.fetcher.complete(fetch)


def test_a_read_that_waits_for_two_parts_is_answered_once() -> None:
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        world.fetcher.told[version] = 17
        read_range(world, version, 0, MIB - STEP)
        read_range(world, version, MIB, MIB + 4096)
        read_range(world, version, MIB + STEP, 2 * MIB - 4096)
        both, last = world.read(version, MIB - STEP, 2 * STEP), world.read(version, 2 * MIB - 4096, 4096)
        first, second, third = world.fetcher.pending
        world.fetcher.complete(first)
        world.fetcher.complete(third)
        assert both.waiting and last.data is not None
        world.fetcher.complete(second)
        world.fetcher.complete()  # a second time
        assert isinstance(both.error, Corrupted)


def test_a_read_that_waits_for_an_innocent_part_fails_with_the_others() -> None:
    with World(readahead_count=0, verify=1) as world:
        version = world.add(2 * MIB)
        world.fetcher.told[version] = 17
        read_range(world, version, 0, 2 * MIB - 4096)
        world.reader.allot(64 * KIB, 0, 0)  # most of it leaves memory
        world.reader.allot(16 * MIB, 0, 0)
        again, last = world.read(version, 0, STEP), world.read(version, 2 * MIB - 4096, 4096)
        innocent, guilty = world.fetcher.pending
        world.fetcher.complete(guilty)
        world.fetcher.complete(world.fetcher.pending[-1])  # a second time
        assert isinstance(last.error, Corrupted) and isinstance(again.error, Corrupted)
        world.fetcher.complete(innocent)
        assert world.reader.facts()["pages"] == 0


def test_an_object_without_a_checksum_is_read_and_counted(world: World) -> None:
    version = world.add(2 * MIB)
    world.fetcher.told[version] = None
    assert all(answer.data is not None for answer in read_to_the_end(world, version))
    ranges = facts(world)["ranges"]
    assert facts(world)["without_crc"] == ranges != 0
    assert facts(world)["covered"] == facts(world)["in_work"] == 0


def test_whole_objects_are_the_fetch_processes_business(world: World) -> None:
    version = world.add(MIB)
    world.read_through(version, 0, MIB)
    assert facts(world)["ranges"] == 0


def test_a_range_that_fails_is_no_part_of_it(world: World) -> None:
    version = world.add(2 * MIB)
    world.read(version, MIB, 4096)
    world.fetcher.fail(Unavailable("reset"))
    assert facts(world)["ranges"] == 0


def test_a_sample_is_one_in_so_many_and_another_one_with_each_seed() -> None:
    versions = [Version(b"shard-%05d.tar" % number, "etag", 2 * MIB) for number in range(4000)]
    samples = [{version for version in versions if one_in(8, bytes([seed]))(version)} for seed in range(4)]
    for sample in samples:
        assert 400 < len(sample) < 600
    assert len(set.union(*samples)) > 1400
    assert len({frozenset({version for version in versions[:500] if one_in(8)(version)}) for _ in range(3)}) > 1


def test_what_is_not_in_the_sample_costs_nothing() -> None:
    with World(verify=1 << 60) as world:
        version = world.add(2 * MIB)
        world.fetcher.told[version] = 17
        assert all(answer.data is not None for answer in read_to_the_end(world, version))
        assert all(request.summed is None for request in world.fetcher.requests)
