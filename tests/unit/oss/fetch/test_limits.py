"""Limits through real fetch processes. The clock of the limits is the test's: nothing depends on how fast anything is."""

from __future__ import annotations

import time

import pytest

from ossmount.errors import DeadlineExceeded
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.rates.bucket import BURST
from ossmount.oss.rates.rates import Rates
from tests.unit.oss.fetch.scripted import Action, Request, Wanted, fetch_all, head, honest, serving, source, wait_until

DATA = bytes(range(256)) * 40


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run_until_done(self, pool: FetchPool, step: float) -> None:
        def done() -> bool:
            self.now += step
            return pool.facts()["outstanding"] == 0

        wait_until(done)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_request_takes_a_token(workers: int) -> None:
    """Eight requests a second: with the clock standing still there is one, and each eighth of a second lets one more go."""
    clock = Clock()
    seen: list[int] = []

    with serving(lambda request: [honest(DATA, "E1", request)]) as server:

        def tick(_pool: FetchPool, _numbers: list[int]) -> None:
            for allowed in range(1, 21):
                wait_until(lambda allowed=allowed: len(server.requests) >= allowed)  # type: ignore[misc]
                seen.append(len(server.requests))
                clock.now += 0.125

        wanted = [Wanted(b"%d" % number, DATA) for number in range(20)]
        fetch_all(source(server.url), wanted, workers=workers, rates=Rates(requests=8, clock=clock), during=tick)
    assert all(item.right for item in wanted)
    assert seen == list(range(1, 21))


def test_repeated_attempts_take_tokens_too() -> None:
    clock = Clock()

    def script(request: Request) -> list[Action]:
        return [honest(DATA, "E1", request) if request.nth == 3 else head("500 Internal Server Error", "Content-Length: 0")]

    with serving(script) as server:

        def tick(_pool: FetchPool, _numbers: list[int]) -> None:
            for allowed in range(1, 5):
                wait_until(lambda allowed=allowed: len(server.requests) == allowed)  # type: ignore[misc]
                clock.now += 1.0

        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted, rates=Rates(requests=1, clock=clock), during=tick)
    assert wanted[0].right


def test_demand_goes_before_readahead_of_another_process() -> None:
    """Two processes. One token after the other is granted: all that readers wait for comes before all that they do not."""
    clock = Clock()
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:

        def tick(_pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) == 1)  # the burst; both processes have said what they want soon after
            for allowed in range(2, 25):
                time.sleep(0.02)
                clock.now += 0.125
                wait_until(lambda allowed=allowed: len(server.requests) == allowed)  # type: ignore[misc]

        wanted = [Wanted(b"%d" % number, DATA, demand=number >= 12) for number in range(24)]
        fetch_all(source(server.url), wanted, workers=2, rates=Rates(requests=8, clock=clock), during=tick)
        keys = [int(request.key) for request in server.requests]
    assert all(item.right for item in wanted)
    late = [key for key in keys[1:12] if key < 12]
    assert len(late) <= 2, keys  # what a process had the token for before the other one had said that readers wait


def test_bytes_are_received_as_they_are_paid_for() -> None:
    """1 MiB a second and a range of 4 MiB: with the clock standing still its beginning comes, and no more than the buffers."""
    clock = Clock()
    data = bytes(4 << 20)
    received: list[int] = []

    with serving(lambda request: [honest(data, "E1", request)]) as server:

        def tick(pool: FetchPool, _numbers: list[int]) -> None:
            def count() -> int:
                time.sleep(0.3)  # in front of what must not come; longer waiting could only make the test stricter
                return max(wanted[0].progress, default=0)

            for _ in range(3):
                received.append(count())
                clock.now += 1.0
            clock.run_until_done(pool, 0.1)

        wanted = [Wanted(b"a", data, start=1)]
        fetch_all(source(server.url), wanted, rates=Rates(bandwidth=1 << 20, clock=clock), during=tick)
    assert wanted[0].right
    burst, prepaid, one_receive = int((1 << 20) * BURST), 128 << 10, 256 << 10
    assert received[0] <= burst + prepaid + one_receive
    assert received[-1] <= 1.0 * (1 << 20) + burst + prepaid + one_receive


def test_small_objects_are_paid_before_they_are_asked_for() -> None:
    """256 KiB a second, objects of 20 KiB. With the clock standing still only what the burst pays for is asked for."""
    clock = Clock()
    data = bytes(20 << 10)
    counts: list[int] = []

    with serving(lambda request: [honest(data, "E1", request)]) as server:

        def tick(pool: FetchPool, _numbers: list[int]) -> None:
            wait_until(lambda: len(server.requests) >= 1)
            time.sleep(0.3)  # as above
            counts.append(len(server.requests))
            clock.run_until_done(pool, 0.05)

        wanted = [Wanted(b"%d" % number, data) for number in range(40)]
        fetch_all(source(server.url), wanted, rates=Rates(bandwidth=256 << 10, clock=clock), during=tick)
    assert all(item.right for item in wanted)
    assert counts[0] <= 5  # 64 KiB of the burst are four, and one that the last bytes begin
    assert clock.now >= 40 * 20 / 256 - 1


@pytest.mark.stress
def test_silence_does_not_count_while_a_limit_holds_a_range_back() -> None:
    """Of a deadline of 20 s 5 s of silence are allowed; the limit is silent for longer."""
    clock = Clock()
    data = bytes(1 << 20)

    with serving(lambda request: [honest(data, "E1", request)]) as server:

        def tick(pool: FetchPool, _numbers: list[int]) -> None:
            time.sleep(6.0)
            clock.run_until_done(pool, 0.5)

        wanted = [Wanted(b"a", data, start=1)]
        facts = fetch_all(source(server.url, timeout=20.0), wanted, rates=Rates(bandwidth=1 << 19, clock=clock), during=tick)
        assert len(server.requests) == 1
    assert wanted[0].right or isinstance(wanted[0].failure, DeadlineExceeded)  # a machine that takes 20 s for it
    assert facts["timeouts"] == 0


def test_a_limit_delays_within_the_deadline() -> None:
    clock = Clock()
    with serving(lambda request: [honest(DATA, "E1", request)]) as server:
        wanted = [Wanted(b"a", DATA), Wanted(b"b", DATA)]
        fetch_all(source(server.url, timeout=1.0), wanted, rates=Rates(requests=1, clock=clock))
        assert len(server.requests) == 1
    failed = [item.failure for item in wanted if item.failure is not None]
    assert [type(failure) for failure in failed] == [DeadlineExceeded]
    assert "limit" in str(failed[0])


def test_throttling_of_one_process_slows_all() -> None:
    """A store that refuses two of three requests: both processes end up asking the daemon, and everything is read."""

    def script(request: Request) -> list[Action]:
        if request.nth < 2:
            return [head("503 Service Unavailable", "Content-Length: 0")]
        return [honest(DATA, "E1", request)]

    with serving(script) as server:
        rates = Rates()
        wanted = [Wanted(b"%d" % number, DATA) for number in range(30)]
        facts = fetch_all(source(server.url), wanted, workers=2, rates=rates)
    assert all(item.right for item in wanted)
    assert facts["throttled"] == 60
    assert rates.facts()["refused"] == 60
