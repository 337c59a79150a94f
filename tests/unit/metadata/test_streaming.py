"""Listings of a large directory leave while it is still being listed, and go on where they were whatever changes meanwhile."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from tests.unit.metadata.fake_lister import EPOCH, FakeLister, running, soon

NAMES = [b"%05d" % number for number in range(0, 20_000, 2)]
PAGES = 100


def test_the_first_names_are_answered_before_the_directory_is_listed(tmp_path: Path) -> None:
    async def main() -> None:
        lister = FakeLister(NAMES, latency=0.03, page_limit=len(NAMES) // PAGES)
        async with running(lister, tmp_path) as namespace:
            began = trio.current_time()
            first = await soon(namespace.list(1, b""))
            assert [named.name for named in first] == NAMES[: len(first)] and first
            assert trio.current_time() - began < 0.1, "virtual seconds: one answer, not a hundred"
            assert lister.lists < PAGES // 4

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_names_that_stay_are_listed_once_while_others_come_and_go(tmp_path: Path) -> None:
    """With a TTL of 0, so that each part is asked for anew; a reader that begins again sees what is there then."""

    async def main() -> None:
        lister = FakeLister(NAMES, page_limit=1000)

        def now() -> float:
            return EPOCH + trio.current_time()

        async with running(lister, tmp_path, now=now, entry_ttl=0.0, attr_ttl=0.0, negative_ttl=0.0) as namespace:
            seen: list[bytes] = []
            gone: set[bytes] = set()
            while batch := await soon(namespace.list(1, seen[-1] if seen else b"")):
                seen += [named.name for named in batch]
                at = len(seen) // 2
                for name in (seen[at], seen[-1]):  # also the one that the reader goes on from
                    if name in lister.objects:
                        lister.delete(name)
                        gone.add(name)
                behind = b"%05d" % (int(seen[-1]) + 4)
                if behind in lister.objects:
                    lister.delete(behind)
                    gone.add(behind)
                lister.put(b"%05d" % (int(seen[at]) + 1))
                if seen[-1] < NAMES[-100]:  # else there would be one more name for ever
                    lister.put(b"%05d" % (int(seen[-1]) + 3))
                await trio.sleep(1)
            assert len(seen) == len(set(seen)) and seen == sorted(seen)
            assert set(NAMES) - gone <= set(seen)
            again: list[bytes] = []
            while batch := await soon(namespace.list(1, again[-1] if again else b"")):
                again += [named.name for named in batch]
            assert again == lister.order

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))
