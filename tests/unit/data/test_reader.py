from __future__ import annotations

import pytest

from ossmount.config import DataConfig
from ossmount.data.reader import ObjectReader
from ossmount.errors import Changed, DeadlineExceeded, Denied, InvalidArgument, NotFound, OssMountError, Unavailable
from ossmount.model import Version
from tests.unit.data.fake_fetcher import KIB, MIB, Answer, World


def test_a_small_file_is_one_fetch_of_the_whole_object() -> None:
    with World() as world:
        version = world.add(110_000)
        first = world.read(version, 0, 65536)
        second = world.read(version, 65536, 65536)
        assert first.waiting and second.waiting
        assert world.fetcher.ranges == [(0, 110_000)]
        assert world.fetcher.requests[0].demand
        assert world.fetcher.pending[0].progress is None  # its CRC is known only at the end
        world.fetcher.complete()
        assert first.data == world.data(version, 0, 65536)
        assert second.data == world.data(version, 65536, 65536)
        assert world.read(version, 100_000, 4096).data == world.data(version, 100_000, 4096)  # from memory
        assert len(world.fetcher.requests) == 1


def test_reads_are_cut_at_the_end_of_the_object() -> None:
    with World() as world:
        version, empty = world.add(5000), world.add(0, "empty")
        assert world.read(version, 5000, 10).data == b""
        assert world.read(version, 9000, 10).data == b""
        assert world.read(empty, 0, 4096).data == b""
        assert world.fetcher.requests == []
        assert world.read_through(version, 4990, 4096) == world.data(version, 4990, 10)


def test_a_random_read_fetches_its_blocks_only() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        answer = world.read(version, 3 * MIB + 100, 64 * KIB)
        assert world.fetcher.ranges == [(3 * MIB, 3 * MIB + 68 * KIB)]
        world.fetcher.complete()
        assert answer.data == world.data(version, 3 * MIB + 100, 64 * KIB)


def test_a_read_is_answered_as_soon_as_its_own_bytes_are_there() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        first = world.read(version, 0, 128 * KIB)
        second = world.read(version, 128 * KIB, 128 * KIB)
        fetch = world.fetcher.pending[0]
        assert fetch.request.length > 256 * KIB  # the first window rides with the demand
        world.fetcher.receive(fetch, 128 * KIB - 1)
        assert first.waiting
        world.fetcher.receive(fetch, 1)
        assert first.data == world.data(version, 0, 128 * KIB)
        assert second.waiting
        world.fetcher.receive(fetch, 128 * KIB)
        assert second.data == world.data(version, 128 * KIB, 128 * KIB)
        assert world.read(version, 1000, 100).data == world.data(version, 1000, 100)  # while the fetch still runs
        world.fetcher.complete_all()


def test_a_read_over_several_pages_and_transfers() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        world.read_through(version, 3 * MIB - 8192, 4096)
        world.read_through(version, 3 * MIB + 8192, 4096)
        answer = world.read(version, 3 * MIB - 100_000, 200_000)
        assert len(world.fetcher.pending) == 3  # before, between and behind what is there
        for fetch in reversed(list(world.fetcher.pending)):
            assert answer.waiting
            world.fetcher.complete(fetch)
        assert answer.data == world.data(version, 3 * MIB - 100_000, 200_000)


def test_demand_that_joins_readahead_promotes_it_once() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        world.read(version, 0, 128 * KIB)
        ahead = [fetch for fetch in world.fetcher.pending if not fetch.request.demand]
        assert ahead == []  # one fetch until the reader goes on
        world.fetcher.complete_all()
        world.read(version, 128 * KIB, 128 * KIB)
        fetch = next(fetch for fetch in world.fetcher.pending if not fetch.request.demand)
        start = fetch.range[0]
        answers = [world.read(version, start, 4096), world.read(version, start + 4096, 4096)]
        assert fetch.promoted and all(answer.waiting for answer in answers)
        world.fetcher.complete(fetch)
        assert [answer.data for answer in answers] == [world.data(version, start + at, 4096) for at in (0, 4096)]
        world.fetcher.complete_all()


def window_under_way(world: World) -> tuple[int, Answer]:
    """Reads until something is fetched ahead, and joins it: where, and the joined read."""
    version = world.add(8 * MIB)
    world.read_through(version, 0, 128 * KIB)
    world.fetcher.complete_all()
    assert world.read(version, 128 * KIB, 128 * KIB).data is not None
    fetch = next(fetch for fetch in world.fetcher.pending if not fetch.request.demand)
    return fetch.range[0], world.read(version, fetch.range[0], 4096)


def test_failed_readahead_is_retried_as_demand_for_a_read_that_joined_it() -> None:
    with World() as world:
        start, answer = window_under_way(world)
        version = world.fetcher.pending[0].request.version
        joined = next(fetch for fetch in world.fetcher.pending if fetch.range[0] == start)
        world.fetcher.fail(Unavailable("reset"), joined)
        again = world.fetcher.pending[-1]
        assert answer.waiting and again.request.demand and again.range == (start, start + 4096)
        world.fetcher.fail(Unavailable("reset again"), again)
        assert isinstance(answer.error, Unavailable)
        world.now += 3
        assert world.read_through(version, start, 4096) == world.data(version, start, 4096)
        world.fetcher.complete_all()


def test_a_read_is_retried_once_only() -> None:
    with World(memory=64 * MIB) as world:
        version = world.add(32 * MIB)
        for offset in range(0, 4 * MIB, 128 * KIB):
            world.read_through(version, offset, 128 * KIB)
        first, second = [fetch for fetch in world.fetcher.pending if not fetch.request.demand and not fetch.promoted][:2]
        assert first.range[1] == second.range[0]
        answer = world.read(version, second.range[0] - 4096, 8192)
        assert first.promoted and second.promoted
        world.fetcher.fail(Unavailable("reset"), first)
        assert answer.waiting  # its first half is asked for again, its second half still comes with the readahead
        error = Unavailable("reset too")
        world.fetcher.fail(error, second)
        assert answer.error is error
        world.fetcher.complete_all()


def test_a_read_that_waited_long_for_readahead_is_not_retried() -> None:
    with World() as world:
        _, answer = window_under_way(world)
        world.now += 60
        for fetch in list(world.fetcher.pending):
            world.fetcher.fail(DeadlineExceeded("no answer"), fetch)
        assert isinstance(answer.error, DeadlineExceeded)
        assert world.fetcher.pending == []


def test_failed_readahead_that_nobody_joined_is_dropped_and_counted() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        world.read_through(version, 0, 128 * KIB)
        world.fetcher.complete_all()
        world.read(version, 128 * KIB, 128 * KIB)
        ahead = list(world.fetcher.pending)
        assert ahead
        for fetch in ahead:
            world.fetcher.fail(Unavailable("reset"), fetch)
        assert world.reader.facts()["failed_ahead"] == len(ahead)
        start = ahead[0].range[0]
        assert world.read_through(version, start, 4096) == world.data(version, start, 4096)
        world.fetcher.complete_all()


@pytest.mark.parametrize("error", [Changed("412"), NotFound("404")])
def test_a_version_that_is_gone_loses_all_its_pages(error: OssMountError) -> None:
    with World() as world:
        version = world.add(4 * MIB)
        other = world.add(4 * MIB, etag="2")
        assert world.read_through(version, 2 * MIB, 4096)
        assert world.read_through(other, 2 * MIB, 4096)
        failed, under_way = world.read(version, 3 * MIB, 4096), world.read(version, MIB, 4096)
        world.fetcher.fail(error)
        assert failed.error is error
        assert under_way.waiting
        world.fetcher.complete()  # it was sent with If-Match: these bytes are of the version asked for
        assert under_way.data == world.data(version, MIB, 4096)
        assert world.read(version, 2 * MIB, 4096).waiting
        assert world.read(other, 2 * MIB, 4096).data == world.data(other, 2 * MIB, 4096)
        world.fetcher.complete_all()


def test_forget_drops_pages_and_cancels_what_nobody_waits_for() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        world.read_through(version, 0, 128 * KIB)
        world.fetcher.complete_all()
        assert world.read(version, 128 * KIB, 128 * KIB).data is not None
        wanted = world.read(version, 6 * MIB, 4096)
        ahead = [fetch for fetch in world.fetcher.pending if not fetch.request.demand]
        world.reader.forget(version)
        assert ahead and all(fetch.cancelled for fetch in ahead)
        assert world.reader.facts()["memory_held"] == sum(f.request.length for f in ahead) + 4096  # may still be written
        assert world.read(version, 0, 4096).waiting
        world.fetcher.end_cancelled()
        world.fetcher.complete_all()
        assert wanted.data == world.data(version, 6 * MIB, 4096)
        world.reader.forget(version)
        assert world.reader.facts()["memory_free"] == world.slab.size


def test_a_failure_at_the_deadline_is_repeated_at_once_for_two_seconds() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        answer = world.read(version, MIB, 128 * KIB)
        error = DeadlineExceeded("no answer")
        world.fetcher.fail(error)
        assert answer.error is error
        world.now += 1.9
        assert world.read(version, MIB + 64 * KIB, 4096).error is error
        assert world.fetcher.pending == []
        assert world.read(version, 4 * MIB, 4096).waiting  # elsewhere we try
        world.fetcher.complete_all()
        world.now += 0.2
        assert world.read_through(version, MIB + 64 * KIB, 4096) == world.data(version, MIB + 64 * KIB, 4096)


def test_a_refusal_is_not_remembered() -> None:
    with World() as world:
        version = world.add(8 * MIB)
        answer = world.read(version, MIB, 4096)
        world.fetcher.fail(Denied("403"))
        assert isinstance(answer.error, Denied)
        assert world.read_through(version, MIB, 4096) == world.data(version, MIB, 4096)


def test_what_was_refused_and_is_asked_for_page_by_page_is_fetched_in_one_piece() -> None:
    """As the kernel does after a READ of 1 MiB has failed."""
    with World(readahead_count=0, readahead_size=0) as world:
        version = world.add(8 * MIB)
        refused = world.read(version, 2 * MIB, MIB)
        world.fetcher.fail(Denied("the token has expired"))
        assert isinstance(refused.error, Denied)
        before = len(world.fetcher.requests)
        pages = [world.read(version, 2 * MIB + number * 4096, 4096) for number in range(3)]
        world.fetcher.complete_all()
        pages += [world.read(version, 2 * MIB + number * 4096, 4096) for number in range(3, 256)]
        assert [page.data for page in pages] == [world.data(version, 2 * MIB + at * 4096, 4096) for at in range(256)]
        assert len(world.fetcher.requests) == before + 1


def test_reads_queue_for_memory_in_their_order() -> None:
    with World(memory=256 * KIB) as world:
        versions = [world.add(128 * KIB, f"file {number}") for number in range(5)]
        answers = [world.read(version, 0, 128 * KIB) for version in versions]
        assert len(world.fetcher.pending) == 2
        assert world.reader.facts()["waiting_for_memory"] == 3
        for number, answer in enumerate(answers):
            assert answer.waiting
            world.fetcher.complete()
            assert answer.data == world.data(versions[number], 0, 128 * KIB)
        assert world.reader.facts()["waiting_for_memory"] == 0
        assert [request.version for request in world.fetcher.requests] == versions


def test_a_read_waits_for_memory_until_a_deadline() -> None:
    with World(memory=128 * KIB) as world:
        first, second, third = (world.add(128 * KIB, name) for name in ("first", "second", "third"))
        world.read(first, 0, 128 * KIB)
        answer, late = world.read(second, 0, 128 * KIB), world.read(second, 0, 64 * KIB)
        world.now += 59
        newer = world.read(third, 0, 4096)
        world.now += 2
        world.fetcher.fail(DeadlineExceeded("no answer"))
        assert isinstance(answer.error, DeadlineExceeded) and isinstance(late.error, DeadlineExceeded)
        again = world.read(second, 0, 4096)  # as the kernel does with the first page
        assert isinstance(again.error, DeadlineExceeded)
        world.fetcher.complete_all()
        assert newer.data == world.data(third, 0, 4096)


def test_with_a_short_deadline_a_read_that_joined_readahead_is_begun_anew_only_at_once() -> None:
    with World(timeout=4.0) as world:
        _, answer = window_under_way(world)
        world.now += 1
        for fetch in list(world.fetcher.pending):
            world.fetcher.fail(DeadlineExceeded("no answer"), fetch)
        assert isinstance(answer.error, DeadlineExceeded)
        assert world.fetcher.pending == []


def test_what_readers_that_went_away_left_unread_does_not_stop_readahead() -> None:
    with World(memory=8 * MIB) as world:
        for number in range(20):
            version = world.add(2 * MIB, f"left alone {number}")
            world.read_through(version, 0, 128 * KIB)
            world.fetcher.complete_all()
        version = world.add(24 * MIB)
        before = len(world.fetcher.requests)
        for offset in range(0, version.size, 128 * KIB):
            assert world.read_through(version, offset, 128 * KIB) == world.data(version, offset, 128 * KIB)
        demand = [request for request in world.fetcher.requests[before:] if request.demand]
        assert len(demand) <= 3
        world.fetcher.complete_all()


def test_faults_in_the_middle_of_a_small_file_are_one_value() -> None:
    with World() as world:
        version = world.add(900 * KIB)
        for offset in range(300 * KIB, 400 * KIB, 4096):
            assert world.read_through(version, offset, 4096) == world.data(version, offset, 4096)
        assert len(world.fetcher.requests) == 2


def test_queued_reads_cancel_readahead_and_go_on_when_it_has_ended() -> None:
    with World(memory=2 * MIB) as world:
        version, other = world.add(8 * MIB), world.add(1 * MIB, "other")
        world.read_through(version, 0, 128 * KIB)
        world.fetcher.complete_all()
        world.read(version, 128 * KIB, 128 * KIB)
        world.read(version, 256 * KIB, 128 * KIB)
        assert [fetch for fetch in world.fetcher.pending if not fetch.request.demand]
        held = [world.read(version, 4 * MIB, 512 * KIB), world.read(version, 6 * MIB, 512 * KIB)]
        answer = world.read(other, 0, MIB)
        assert world.reader.facts()["waiting_for_memory"] == 1
        assert any(fetch.cancelled for fetch in world.fetcher.pending)
        world.fetcher.end_cancelled()
        world.fetcher.complete_all()
        assert answer.data == world.data(other, 0, MIB)
        assert all(read.data is not None for read in held)


def test_a_read_larger_than_the_memory_is_refused() -> None:
    with World(memory=64 * KIB) as world:
        version = world.add(MIB)
        assert isinstance(world.read(version, 0, 128 * KIB).error, InvalidArgument)
        assert world.read_through(version, 0, 60 * KIB) == world.data(version, 0, 60 * KIB)


def test_a_read_that_needs_a_little_of_a_page_that_takes_its_room() -> None:
    with World(memory=32 * KIB) as world:
        version = world.add(8 * MIB)
        world.read_through(version, 4 * MIB, 20 * KIB)
        offset = 4 * MIB + 16 * KIB + 1
        assert world.read_through(version, offset, 16 * KIB) == world.data(version, offset, 16 * KIB)


def test_a_fetcher_that_fails_at_once() -> None:
    with World() as world:
        version = world.add(MIB)
        error = Unavailable("no process")
        world.fetcher.fail_at_once = error
        assert world.read(version, 0, 4096).error is error
        assert world.reader.facts()["memory_free"] == world.slab.size


def test_reading_again_from_within_the_callback_of_a_full_cache() -> None:
    with World(memory=64 * KIB) as world:
        first, second = world.add(64 * KIB, "first"), world.add(64 * KIB, "second")
        world.read_through(first, 0, 64 * KIB)
        answer = Answer()

        def read_second(result: object) -> None:
            world.reader.read(second, 0, 64 * KIB, answer)
            assert bytes(result[0]) == world.data(first, 0, 64 * KIB)  # type: ignore[index]

        world.reader.read(first, 0, 64 * KIB, read_second)
        world.fetcher.complete_all()
        assert answer.data == world.data(second, 0, 64 * KIB)


def test_a_callback_that_fails_does_not_keep_others_waiting() -> None:
    with World() as world:
        version = world.add(4096)

        def fail(result: object) -> None:
            raise RuntimeError("defect")

        world.reader.read(version, 0, 4096, fail)
        answer = world.read(version, 0, 4096)
        with pytest.raises(RuntimeError):
            world.fetcher.complete()
        assert answer.data == world.data(version, 0, 4096)
        assert world.reader.facts()["memory_held"] == 0


def test_a_sequential_reader_finds_its_bytes_under_way() -> None:
    with World(memory=64 * MIB, readahead_size=2 * MIB, readahead_count=4) as world:
        version = world.add(24 * MIB)
        for offset in range(0, 24 * MIB, 128 * KIB):
            answer = world.read(version, offset, 128 * KIB)
            while answer.waiting:
                world.fetcher.complete()
            assert answer.data == world.data(version, offset, 128 * KIB)
        demand = [request for request in world.fetcher.requests if request.demand]
        assert len(demand) == 1
        assert sum(request.length for request in world.fetcher.requests) == 24 * MIB


def test_many_files_half_read_in_little_memory_cost_little_more_than_their_bytes() -> None:
    with World(memory=8 * MIB, readahead_size=8 * MIB, readahead_count=8) as world:
        versions = [world.add(2 * MIB, f"file {number}") for number in range(60)]
        for offset in range(0, MIB, 128 * KIB):
            for version in versions:
                assert world.read_through(version, offset, 128 * KIB) == world.data(version, offset, 128 * KIB)
        world.fetcher.complete_all()
        assert sum(request.length for request in world.fetcher.requests) < 1.6 * 60 * MIB


def test_readahead_comes_back_after_a_time_of_little_memory() -> None:
    with World(memory=8 * MIB) as world:
        versions = [world.add(2 * MIB, f"file {number}") for number in range(60)]
        for offset in range(0, MIB // 2, 128 * KIB):
            for version in versions:
                world.read_through(version, offset, 128 * KIB)
        alone = world.add(96 * MIB, "alone")
        for offset in range(0, alone.size, 128 * KIB):
            world.read_through(alone, offset, 128 * KIB)
        late = [request for request in world.fetcher.requests if request.demand and request.start > 64 * MIB]
        assert late == []
        world.fetcher.complete_all()


@pytest.mark.parametrize(("size", "count"), [(0, 8), (MIB, 0)])
def test_readahead_can_be_switched_off(size: int, count: int) -> None:
    with World(readahead_size=size, readahead_count=count) as world:
        version = world.add(8 * MIB)
        for offset in range(0, 4 * MIB, 128 * KIB):
            assert world.read_through(version, offset, 128 * KIB) == world.data(version, offset, 128 * KIB)
        assert all(request.length == 128 * KIB and request.demand for request in world.fetcher.requests)


def test_less_memory_drops_whole_files_first_then_windows_and_fails_no_read() -> None:
    with World(16 * MIB) as world:
        big, small = world.add(12 * MIB, "big"), [world.add(MIB, f"small {number}") for number in range(4)]
        for version in small:
            assert world.prefetch(version) is not None
        world.fetcher.complete_all()
        waiting = world.read(big, 0, 128 * KIB)
        while world.fetcher.pending:
            world.fetcher.complete()
        assert waiting.data is not None
        windows = world.reader.facts()["memory_unread"] - 4 * MIB  # type: ignore[operator]
        assert windows > 0
        world.reader.allot(16 * MIB, 12 * MIB, 2 * MIB)
        facts = world.reader.facts()
        assert (facts["prefetched_unread"], facts["memory_unread"]) == (2 * MIB, 2 * MIB + windows)
        world.reader.allot(8 * MIB, 0, 0)
        facts = world.reader.facts()
        assert facts["memory_unread"] == 0
        assert facts["memory_limit"] == 8 * MIB
        for version in (big, *small):
            assert world.read_through(version, 0, MIB) == world.data(version, 0, MIB)
        assert world.slab.resident <= 8 * MIB


def test_a_reader_of_much_gets_as_much_as_memory_allows_again() -> None:
    with World(16 * MIB) as world:
        version = world.add(64 * MIB)
        world.reader.allot(4 * MIB, MIB, 0)
        for at in range(0, 32 * MIB, MIB):
            assert world.read_through(version, at, MIB) == world.data(version, at, MIB)
            assert world.reader.facts()["memory_unread"] <= MIB  # type: ignore[operator]
        world.reader.allot(16 * MIB, 12 * MIB, 8 * MIB)
        for at in range(32 * MIB, 60 * MIB, MIB):
            world.read_through(version, at, MIB)
        assert world.reader.facts()["memory_unread"] > MIB  # type: ignore[operator]


def test_facts_tell_what_happened() -> None:
    with World() as world:
        version, other = world.add(100 * KIB), world.add(10 * KIB, "other")
        waiting = [world.read(version, 0, 4096), world.read(version, 8192, 4096)]
        world.fetcher.complete()
        world.read(version, 0, 4096)
        world.prefetch(other)
        facts = world.reader.facts()
        assert all(answer.data is not None for answer in waiting)
        assert (facts["misses"], facts["joined"], facts["hits"], facts["fetches"], facts["transfers"]) == (1, 1, 1, 2, 1)
        assert (facts["memory_held"], facts["memory_unread"], facts["pages"]) == (12 * KIB, 10 * KIB, 2)
        world.fetcher.complete_all()


@pytest.mark.parametrize("kernel_keeps", [True, False])
def test_what_can_be_had_at_once_is_asked_for_whole_files_that_the_kernel_keeps(kernel_keeps: bool) -> None:
    with World() as world:
        small, part, large = world.add(5000, "small"), world.add(9000, "part"), world.add(MIB + 1, "large")
        asked: list[Version] = []

        def at_once(version: Version) -> memoryview | None:
            asked.append(version)
            return memoryview(world.data(version, 0, version.size))

        config = DataConfig(world.slab.size, MIB, 4, kernel_keeps=kernel_keeps)
        world.reader = ObjectReader(world.slab, world.fetcher, config, at_once=at_once)
        assert world.read_through(small, 0, 8192) == world.data(small, 0, 5000)
        assert world.read_through(part, 0, 4096) == world.data(part, 0, 4096)
        assert world.read_through(part, 4096, 8192) == world.data(part, 4096, 8192)
        assert world.read_through(large, 0, MIB) == world.data(large, 0, MIB)
        assert asked == ([small] if kernel_keeps else [])
        assert len(world.fetcher.requests) >= (2 if kernel_keeps else 3)
