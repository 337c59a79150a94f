"""Answers that are too old, while they are asked again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from ossmount.errors import StaleNode, Unavailable
from ossmount.model import Absent, Found
from tests.unit.metadata.fake_lister import FakeLister, list_all, running, soon


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(100_000):  # virtual; the store's thread takes real milliseconds
        while not await condition():
            await trio.sleep(1)


def run(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(rate=1000))  # type: ignore[arg-type]


def jump(seconds: float) -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


def test_too_old_is_answered_at_once_and_asked_again_once(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a", b"b"])
        async with running(lister, tmp_path, attr_ttl=1e6, entry_ttl=1e6, stale=1e6) as namespace:
            old = await list_all(namespace, 1)
            before = len(lister.requests)
            lister.put(b"a", b"changed")
            lister.put(b"c")
            jump(1.5e6)
            rows = [namespace.list(1, b"") for _ in range(3)]  # none of them waits
            assert [[row.name for row in names] for names in rows] == [[b"a", b"b"]] * 3  # type: ignore[union-attr]
            entry = namespace.lookup(1, b"a")
            assert isinstance(entry, Found)
            assert entry.node == old[0].found.node
            assert 0 < entry.fresh_for <= 1
            attributes = namespace.getattr(entry.node.id)
            assert isinstance(attributes, Found)

            async def changed() -> bool:
                new: Found | Absent = await soon(namespace.lookup(1, b"a"))
                assert isinstance(new, Found)
                return new.node != old[0].found.node

            await eventually(changed)
            assert [row.name for row in await list_all(namespace, 1)] == [b"a", b"b", b"c"]
            assert len(lister.requests) <= before + 3
            with pytest.raises(StaleNode):
                namespace.getattr(old[0].found.node.id)

    run(main)


def test_a_name_that_did_not_exist_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        async with running(lister, tmp_path, attr_ttl=1e6, entry_ttl=1e6, negative_ttl=1e6, stale=1e7) as namespace:
            assert isinstance(await soon(namespace.lookup(1, b"new")), Absent)
            lister.put(b"new")
            jump(2e6)
            assert isinstance(await soon(namespace.lookup(1, b"new")), Found)

    run(main)


def test_beyond_the_stale_time_everybody_waits_and_failures_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister([b"a"])
        async with running(lister, tmp_path, attr_ttl=1e6, entry_ttl=1e6, stale=1e6) as namespace:
            await list_all(namespace, 1)
            before = len(lister.requests)
            lister.failure = Unavailable("a test")
            jump(1.5e6)
            assert isinstance(namespace.lookup(1, b"a"), Found)

            async def failed() -> bool:
                return len(lister.requests) > before and not lister.under_way

            await eventually(failed)
            assert isinstance(namespace.lookup(1, b"a"), Found)  # the failure in the background harms nobody yet
            jump(1e6)
            with pytest.raises(Unavailable):
                await soon(namespace.lookup(1, b"a"))

    run(main)
