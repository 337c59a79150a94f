"""Where the time of fetches goes, as the fetch processes report it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import trio

from ossmount.config import FetchConfig
from ossmount.durations import quantile
from ossmount.model import Version
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchRequest, SlowFetch
from tests.unit.oss.fetch.scripted import Action, Request, Slab, Wanted, head, honest, serving, source

DATA = bytes(range(256)) * 100


def fetch(url: str, keys: Sequence[bytes], *, connections: int, slow_after: float) -> tuple[dict[str, Any], list[SlowFetch]]:
    """Fetches all at once; the facts once they tell of all of them, and the slow ones."""
    wanted = [Wanted(key, DATA) for key in keys]
    slab, slow, left = Slab(wanted), list[SlowFetch](), len(wanted)
    facts: dict[str, Any] = {}

    async def main() -> None:
        nonlocal facts
        pool = FetchPool(source(url), FetchConfig(1, connections, slow_after), slab.fd, slab.size)
        pool.watch(slow.append)
        done = trio.Event()

        def one_done(failure: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: pool.run(task_status.started))
            for item, targets in zip(wanted, slab.targets, strict=True):
                version = Version(item.key, "E1", len(DATA))
                pool.fetch(FetchRequest(version, 0, len(DATA), targets), one_done)
            await done.wait()
            with trio.fail_after(60):
                while pool.facts()["durations"]["get"]["count"] < pool.facts()["requests"]:  # type: ignore[index]
                    await trio.sleep(0.02)
            facts = pool.facts()
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    finally:
        slab.close()
    return facts, slow


def test_a_slow_store_a_queue_and_retries_are_told_apart() -> None:
    failed = threading.Event()

    def script(request: Request) -> list[Action]:
        pause = threading.Event()
        threading.Timer(0.3, pause.set).start()
        if request.key == b"retried" and not failed.is_set():
            failed.set()
            return [head("500 Internal Server Error", "Content-Length: 0")]
        return [pause, honest(DATA, "E1", request)] if request.key == b"slow" else [honest(DATA, "E1", request)]

    with serving(script) as server:
        facts, slow = fetch(server.url, [b"slow", b"behind", b"retried"], connections=1, slow_after=0.05)
    told = {each.key: each for each in slow}
    assert told[b"slow"].seconds - told[b"slow"].queued >= 0.3
    assert told[b"behind"].queued >= 0.3 and told[b"behind"].tries == 1
    assert told[b"retried"].tries == 2 and told[b"retried"].paused > 0
    assert {each.failure for each in slow} == {""}
    assert facts["durations"]["get"]["count"] == 4
    assert facts["durations"]["first_byte"]["seconds"] >= 0.3
    longest = quantile(facts["durations"]["get"], 1.0)
    assert longest is not None and longest >= 0.26  # the lower end of the bucket of 0.3 s
    assert facts["waited"]["queue"] >= 0.6  # two of them
    assert facts["waited"]["retry"] > 0


def test_what_is_not_slow_is_not_told() -> None:
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        facts, slow = fetch(server.url, [b"one", b"two"], connections=2, slow_after=60.0)
    assert slow == []
    assert facts["durations"]["get"]["count"] == 2
