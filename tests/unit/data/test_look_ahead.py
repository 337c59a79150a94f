from __future__ import annotations

from ossmount.data.look_ahead import CONCURRENT
from ossmount.errors import Changed, Unavailable
from ossmount.model import Version
from tests.unit.data.fake_fetcher import KIB, MIB, World


def files(world: World, count: int, size: int = 100 * KIB) -> list[Version]:
    return [world.add(size, f"file {number}") for number in range(count)]


def test_told_files_are_whole_fetches_without_a_reader_and_then_hits() -> None:
    with World() as world:
        versions = files(world, 20)
        world.reader.prefetch(versions)
        assert [request.version for request in world.fetcher.requests] == versions
        assert all(not request.demand and request.length == 100 * KIB for request in world.fetcher.requests)
        world.fetcher.complete_all()
        for version in versions:
            assert world.read(version, 0, 128 * KIB).data == world.data(version, 0, 128 * KIB)
        assert len(world.fetcher.requests) == 20


def test_a_bounded_number_is_under_way() -> None:
    with World(memory=64 * MIB) as world:
        versions = files(world, 3 * CONCURRENT)
        world.reader.prefetch(versions)
        assert len(world.fetcher.pending) == CONCURRENT
        world.fetcher.complete()
        assert len(world.fetcher.pending) == CONCURRENT
        world.fetcher.complete_all()
        assert [request.version for request in world.fetcher.requests] == versions


def test_half_of_the_memory_and_on_as_readers_go_on() -> None:
    with World(memory=4 * MIB) as world:
        versions = files(world, 60)
        world.reader.prefetch(versions)
        world.fetcher.complete_all()
        assert len(world.fetcher.requests) == 20  # of 100 KiB each
        for number, version in enumerate(versions):
            assert world.read(version, 0, 128 * KIB).data == world.data(version, 0, 128 * KIB), number
            world.fetcher.complete_all()
        assert len(world.fetcher.requests) == 60


def test_a_reader_joins_and_promotes() -> None:
    with World() as world:
        (version,) = files(world, 1)
        world.reader.prefetch([version])
        answer = world.read(version, 0, 4096)
        assert world.fetcher.pending[0].promoted
        world.fetcher.complete_all()
        assert answer.data == world.data(version, 0, 4096)


def test_large_empty_and_present_files_are_left_out() -> None:
    with World() as world:
        (present,) = files(world, 1)
        world.read_through(present, 0, 4096)
        wanted = world.add(5, "wanted")
        world.reader.prefetch([world.add(MIB + 1, "large"), world.add(0, "empty"), present, wanted, wanted])
        assert [fetch.request.version for fetch in world.fetcher.pending] == [wanted]
        world.fetcher.complete_all()


def test_failures_are_quiet_and_do_not_stop_it() -> None:
    with World(memory=64 * MIB) as world:
        versions = files(world, 2 * CONCURRENT)
        world.reader.prefetch(versions)
        for number in range(CONCURRENT):
            world.fetcher.fail(Changed("412") if number % 2 else Unavailable("reset"))
        assert [fetch.request.version for fetch in world.fetcher.pending] == versions[CONCURRENT:]
        world.fetcher.complete_all()
        assert world.read_through(versions[0], 0, 4096) == world.data(versions[0], 0, 4096)


def test_a_fetcher_that_fails_at_once_ends_the_list() -> None:
    with World() as world:
        world.fetcher.fail_at_once = Unavailable("no process")
        world.reader.prefetch(files(world, 2000, 10))
        assert len(world.fetcher.requests) == 2000
        assert world.reader.facts()["pages"] == 0


def test_files_that_readers_pass_by_give_way() -> None:
    with World(memory=4 * MIB) as world:
        versions = files(world, 200)
        world.reader.prefetch(versions)
        hits = 0
        for version in versions[::2]:  # every second one is never read
            world.fetcher.complete_all()
            before = len(world.fetcher.requests)
            assert world.read_through(version, 0, 128 * KIB) == world.data(version, 0, 128 * KIB)
            hits += not any(request.version == version and request.demand for request in world.fetcher.requests[before:])
        world.fetcher.complete_all()
        assert hits >= 90
        assert len(world.fetcher.requests) <= 200


def test_clearing_gives_the_memory_back() -> None:
    with World(memory=4 * MIB) as world:
        versions = files(world, 60)
        world.reader.prefetch(versions)
        for _ in range(10):
            world.fetcher.complete()
        world.reader.clear_prefetch()
        world.fetcher.end_cancelled()
        assert world.fetcher.pending == []
        assert world.reader.facts()["memory_free"] == world.slab.size
        assert world.reader.facts()["memory_unread"] == 0


def test_demand_goes_first() -> None:
    with World(memory=MIB) as world:
        world.reader.prefetch(files(world, 60))
        others = [world.add(300 * KIB, f"other {number}") for number in range(5)]
        answers = [world.read(version, 0, 300 * KIB) for version in others]
        assert world.reader.facts()["waiting_for_memory"] == 4
        assert any(fetch.cancelled for fetch in world.fetcher.pending)
        world.fetcher.end_cancelled()
        world.fetcher.complete_all()
        for version, answer in zip(others, answers, strict=True):
            assert answer.data == world.data(version, 0, 300 * KIB)
