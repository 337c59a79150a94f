"""What was a minute ago, and how late the event loop is."""

from __future__ import annotations

import time

import trio
import trio.testing

from ossmount.daemon.history import History


def test_the_numbers_of_a_minute_ago_once_there_are_any() -> None:
    async def main() -> None:
        table = {"hits": 0}
        history = History(lambda: {"facts": {"data": table}})
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: history.run(task_status.started))
            await trio.sleep(30)
            assert history.before() is None
            table["hits"] = 7  # the same table, changed: what was noted must not change with it
            await trio.sleep(270.5)
            table["hits"] = 99
            before = history.before()
            assert before is not None
            assert before["facts"] == {"data": {"hits": 7}}
            assert 55 <= before["seconds_ago"] <= 75
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_event_loop_that_is_held_up_is_late() -> None:
    async def main() -> None:
        history = History(dict)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: history.run(task_status.started))
            await trio.sleep(0.5)
            time.sleep(1.0)  # a defect: the loop stands still
            while history.facts()["worst_ms"] == 0.0:
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        worst = history.facts()["worst_ms"]
        assert isinstance(worst, float) and worst >= 400

    trio.run(main)
