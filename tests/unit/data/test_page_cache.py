from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from ossmount.data.blocks import blocks_of
from ossmount.data.page_cache import PageCache
from ossmount.data.pages import Page, PendingRead, Transfer
from ossmount.data.slab import Slab
from ossmount.model import Version

KIB = 1 << 10
VERSION = Version(b"object", "1", 100 << 20)


@dataclass
class Reader:
    unread: int = 0


@contextmanager
def cache_of(size: int, *, kernel_keeps: bool = True) -> Iterator[PageCache]:
    slab = Slab(size)
    try:
        yield PageCache(slab, kernel_keeps=kernel_keeps)
    finally:
        slab.close()


def add(cache: PageCache, start: int, end: int, version: Version = VERSION) -> Page:
    """A complete page that nobody holds."""
    assert cache.reserve(blocks_of(end - start), 1)
    page = cache.add(version, start, end, Transfer(version, start, end, True))
    page.transfer = None
    cache.release(page)
    return page


def test_pages_and_gaps_of_a_range() -> None:
    with cache_of(1 << 20) as cache:
        one, two = add(cache, 8192, 12288), add(cache, 20480, 28672)
        assert cache.find(VERSION, 0, 4096) == ([], [(0, 4096)])
        assert cache.find(VERSION, 4096, 32768) == ([one, two], [(4096, 8192), (12288, 20480), (28672, 32768)])
        assert cache.find(VERSION, 8192, 12288) == ([one], [])
        assert cache.find(VERSION, 24576, 28672) == ([two], [])
        assert cache.page(VERSION, 12287) is one
        assert cache.page(VERSION, 12288) is None
        assert cache.page(VERSION, 0) is None
        assert cache.page(VERSION, 99999) is None
        assert cache.page(Version(b"object", "2", 100 << 20), 8192) is None


def test_a_page_takes_as_much_memory_as_it_has_bytes() -> None:
    with cache_of(1 << 20) as cache:
        add(cache, 0, 110_000)
        assert cache.free == (1 << 20) - 27 * 4096
        add(cache, 1 << 20, (1 << 20) + 4096)
        assert cache.free == (1 << 20) - 28 * 4096


def test_what_was_delivered_completely_goes_first_then_the_least_recently_used() -> None:
    with cache_of(40 * KIB) as cache:
        pages = [add(cache, number * 8192, (number + 1) * 8192) for number in range(5)]
        cache.hold(pages[0])
        cache.release(pages[0])  # used again
        cache.hold(pages[3])
        pages[3].delivered = 8192
        cache.release(pages[3])  # the kernel has it
        gone = []
        for number in range(10, 14):
            add(cache, number * 8192, (number + 1) * 8192)
            gone += [page for page in pages if not page.attached and page not in gone]
        assert gone == [pages[3], pages[1], pages[2], pages[4]]


def test_held_pages_stay_and_room_is_refused_without_a_change() -> None:
    with cache_of(16 * KIB) as cache:
        held, idle = add(cache, 0, 8192), add(cache, 8192, 16384)
        cache.hold(held)
        assert not cache.reserve(3, 1)
        assert idle.attached
        assert cache.available == 8192
        assert cache.reserve(2, 1)
        assert not idle.attached and held.attached
        cache.release(held)
        assert cache.available == 16384


def test_a_dropped_page_keeps_its_memory_until_it_is_released() -> None:
    with cache_of(16 * KIB) as cache:
        page = add(cache, 0, 8192)
        cache.hold(page)
        cache.drop_version(VERSION)
        assert not cache.has(VERSION)
        assert cache.free == 8192
        assert [len(view) for view in cache.views(page, 0, 8192)] == [8192]
        cache.release(page)
        assert cache.free == 16384
        assert cache.count == 0


def test_the_number_of_pages_is_bounded() -> None:
    with cache_of(4 << 20) as cache:
        for number in range(1000):
            add(cache, number * 4096, number * 4096 + 4096)
        assert cache.count == (4 << 20) // (16 << 10)


def test_views_of_a_page_in_several_pieces() -> None:
    with cache_of(16 * KIB) as cache:
        for number in range(4):
            add(cache, number * 4096, number * 4096 + 4096)
        for start in (0, 8192):
            found = cache.page(VERSION, start)
            assert found is not None
            cache.drop(found)
        page = add(cache, 40960, 40960 + 8000)
        assert len(page.pieces) == 2
        for at, view in zip((0, 4096), cache.views(page, 40960, 48960), strict=True):
            view[:] = bytes([at // 4096 + 1]) * len(view)
        part = b"".join(cache.views(page, 40960 + 4000, 40960 + 4200))
        assert part == b"\1" * 96 + b"\2" * 104


def test_accounts_of_what_is_fetched_ahead() -> None:
    with cache_of(64 * KIB) as cache:
        one, two = Reader(), Reader()
        pages = [add(cache, number * 8192, (number + 1) * 8192) for number in range(4)]
        for page, reader in zip(pages, (one, one, two, two), strict=True):
            cache.hold(page)
            cache.charge(page, reader)
            cache.release(page)
        assert (one.unread, two.unread, cache.unread, cache.accounts) == (16384, 16384, 32768, 2)
        cache.hold(pages[0])
        cache.settle(pages[0])
        cache.settle(pages[0])
        cache.release(pages[0])
        assert not cache.drop_ahead(one)  # the oldest one is its own
        assert cache.drop_ahead(two)
        assert not pages[1].attached
        assert (one.unread, cache.unread, cache.accounts) == (0, 16384, 1)
        assert cache.reserve(16, 1)
        assert (two.unread, cache.unread, cache.accounts) == (0, 0, 0)
        assert cache.dropped_unread == 24576


@pytest.mark.parametrize(("received", "ready"), [(0, []), (4096, ["first"]), (8192, ["first", "second"])])
def test_reach_tells_who_waits_no_longer(received: int, ready: list[str]) -> None:
    transfer = Transfer(VERSION, 0, 16384, True)
    names: dict[PendingRead, str] = {}
    for name, need in (("first", 4096), ("second", 8192), ("third", 16384)):
        read = PendingRead(VERSION, 0, need, lambda _: None, 0.0)
        read.waiting = 1
        names[read] = name
        transfer.waiters.append((need, read))
    assert [names[read] for read in transfer.reach(received)] == ready
    assert len(transfer.waiters) == 3 - len(ready)


def test_of_what_the_kernel_has_read_little_is_kept_and_nothing_is_dropped_that_it_has_not() -> None:
    size = 16 * KIB
    for kernel_keeps, kept in ((True, 64), (False, 99)):
        with cache_of(4 << 20, kernel_keeps=kernel_keeps) as cache:
            unread = add(cache, 0, size)
            for number in range(1, 100):
                page = add(cache, number * size, (number + 1) * size)
                cache.hold(page)
                page.delivered = size
                cache.release(page)
            assert cache.page(VERSION, 0) is unread
            assert cache.page(VERSION, 99 * size) is page
            assert cache.count == kept + 1
            assert cache.free == (4 << 20) - cache.count * size


def resident(cache: PageCache, slab: Slab, pages: int) -> list[Page]:
    """Fills pages of 64 KiB with bytes, so that they take memory."""
    added = [add(cache, number * 65536, (number + 1) * 65536) for number in range(pages)]
    slab.view[:] = b"x" * slab.size
    return added


def test_a_smaller_cache_gives_memory_back_to_the_machine() -> None:
    slab = Slab(1 << 20)
    cache = PageCache(slab)
    resident(cache, slab, 16)
    assert slab.resident == 1 << 20
    cache.resize(512 << 10)
    assert slab.resident == cache.size == 512 << 10
    assert cache.count == 8
    assert cache.available == 512 << 10
    assert not cache.reserve(129, 1)
    assert cache.reserve(128, 1)
    cache.resize(1 << 20)
    assert cache.reserve(256, 1)
    assert cache.free == 1 << 20
    slab.close()


def test_what_is_held_is_withheld_when_it_comes_free() -> None:
    slab = Slab(1 << 20)
    cache = PageCache(slab)
    pages = resident(cache, slab, 16)
    for page in pages:
        cache.hold(page)
    cache.resize(256 << 10)
    assert cache.count == 16
    assert cache.available == 0
    for page in pages:
        cache.drop(page)
        cache.release(page)
    assert slab.resident == cache.free == 256 << 10
    slab.close()


def test_it_grows_again_before_all_was_withheld() -> None:
    slab = Slab(1 << 20)
    cache = PageCache(slab)
    pages = resident(cache, slab, 16)
    for page in pages[4:]:
        cache.hold(page)
    cache.resize(512 << 10)
    cache.resize(768 << 10)
    assert cache.count == 12
    for page in pages[4:]:
        cache.release(page)
    assert cache.available == 768 << 10
    cache.resize(4 << 20)
    assert cache.size == cache.available == 1 << 20
    slab.close()
