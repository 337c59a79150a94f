"""Health: whether OSS answers is known for a while, and asked at most once at a time."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from ossmount.daemon.health import Health
from ossmount.exit_codes import CommandError, ExitCode


class Store:
    """OSS, as health sees it."""

    def __init__(self) -> None:
        self.asked = 0
        self.requests = 0  # of readers
        self.served = 0
        self.failure = ""
        self.slow = 0.0

    async def check(self) -> None:
        self.asked += 1
        await trio.sleep(self.slow)
        if self.failure:
            raise CommandError(ExitCode.UNREACHABLE, self.failure)
        self.served += 1


async def ready(health: Health) -> bool:
    answer: dict[str, Any] = await health.answer({"command": "health", "ready": True})
    assert answer["reachable"] == (not answer["problem"])
    return bool(answer["reachable"])


def test_alive_asks_nobody() -> None:
    async def main() -> None:
        store = Store()
        health = Health(store.check, lambda: store.served, lambda: store.asked + store.requests)
        assert await health.answer({"command": "health"}) == {"alive": True}
        assert store.asked == 0

    trio.run(main)


def test_oss_is_asked_only_where_nothing_is_known() -> None:
    async def main() -> None:
        store = Store()
        health = Health(store.check, lambda: store.served, lambda: store.asked + store.requests)
        assert await ready(health) and store.asked == 1
        assert await ready(health) and store.asked == 1  # it has just been asked
        await trio.sleep(60)
        assert await ready(health) and store.asked == 2
        await trio.sleep(60)
        store.served += 5  # readers were served meanwhile
        store.requests += 7
        assert await ready(health) and store.asked == 2
        store.failure = "no route"
        store.requests += 1  # of a reader, that was not served
        assert not await ready(health) and store.asked == 3
        assert not await ready(health) and store.asked == 3
        store.failure = ""
        await trio.sleep(3)
        assert await ready(health) and store.asked == 4

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_store_that_is_silent_is_not_waited_for_and_several_questions_are_one() -> None:
    async def main() -> None:
        store = Store()
        store.slow = 1000.0
        health = Health(store.check, lambda: store.served, lambda: store.asked + store.requests)
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await ready(health))

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert answers == [False] * 5 and store.asked == 1
        assert trio.current_time() - began < 10

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
