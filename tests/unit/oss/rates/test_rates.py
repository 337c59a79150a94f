"""The limits of a mount in simulated time: several parties, demand first, and a ceiling that is learned."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest
import trio
from trio.testing import MockClock

from ossmount.oss.fetch import backoff
from ossmount.oss.fetch.trouble import Retry
from ossmount.oss.rates.bucket import BURST
from ossmount.oss.rates.rates import NOTHING, Bounds, Party, Rates, Wants


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A party that wants the same at each step, and counts what it is granted."""

    def __init__(self, rates: Rates, wants: Wants) -> None:
        self.wants = wants
        self.requests = self.bytes = 0
        self.bounds = rates.bounds
        self.party: Party = rates.join(self._granted, self._bounded)

    def ask(self) -> None:
        self.party.want(self.wants)

    def _granted(self, requests: int, size: int) -> None:
        self.requests += requests
        self.bytes += size

    def _bounded(self, bounds: Bounds) -> None:
        self.bounds = bounds


def run(clock: Clock, clients: list[Client], seconds: float, step: float = 0.01) -> None:
    for _ in range(round(seconds / step)):
        clock.now += step
        for client in clients:
            client.ask()


@pytest.mark.parametrize("rate", [7, 500, 20_000])
@pytest.mark.parametrize("step", [0.003, 0.2])
def test_all_parties_together_get_the_rate(rate: int, step: float) -> None:
    """Also where the event loop comes late (a fifth of a second)."""
    clock = Clock()
    rates = Rates(requests=rate, clock=clock)
    clients = [Client(rates, Wants(demand_requests=10_000)) for _ in range(3)]
    run(clock, clients, 20.0, step)
    counts = [client.requests for client in clients]
    assert sum(counts) == pytest.approx(20 * rate, rel=0.05)
    assert max(counts) - min(counts) <= 1 + 0.05 * sum(counts)


def test_no_second_has_more_than_the_rate_and_a_burst() -> None:
    clock = Clock()
    rates = Rates(requests=100, clock=clock)
    client = Client(rates, Wants(demand_requests=1000))
    before = 0
    for second in range(20):
        client.wants = Wants(demand_requests=1000) if second % 3 else NOTHING
        run(clock, [client], 1.0)
        assert client.requests - before <= 100 + 100 * BURST + 1
        before = client.requests


def test_demand_goes_before_what_is_fetched_ahead() -> None:
    clock = Clock()
    rates = Rates(requests=100, bandwidth=1 << 20, clock=clock)
    reader = Client(rates, Wants(demand_requests=1, demand_bytes=5 << 10))
    ahead = Client(rates, Wants(ahead_requests=1000, ahead_bytes=1 << 30))
    run(clock, [ahead, reader], 10.0, 0.02)  # the reader wants half of the requests and a quarter of the bytes
    assert reader.requests == pytest.approx(500, abs=2)
    assert ahead.requests == pytest.approx(500, rel=0.05)
    assert reader.bytes == pytest.approx(500 * (5 << 10), rel=0.01)
    assert ahead.bytes + reader.bytes == pytest.approx(10 << 20, rel=0.05)
    reader.wants = Wants(demand_requests=1000, demand_bytes=1 << 30)
    had = (ahead.requests, ahead.bytes)
    run(clock, [reader, ahead], 1.0)
    assert (ahead.requests, ahead.bytes) == had


def test_nothing_is_fetched_ahead_between_two_questions_of_one_that_is_pressed() -> None:
    """A process asks for a little at a time; what it asked for is granted, and its next question is not there yet."""
    clock = Clock()
    rates = Rates(requests=20, clock=clock)
    reader = Client(rates, NOTHING)
    ahead = Client(rates, Wants(ahead_requests=1000))
    for step in range(40):  # of two tokens each time one is left until the next question
        reader.wants = Wants(demand_requests=2 - 2 * (step % 2), pressed=True)
        run(clock, [reader, ahead], 0.05, 0.05)
    assert reader.requests == pytest.approx(40, abs=2)
    assert ahead.requests <= 2  # of the first burst
    reader.wants = NOTHING
    run(clock, [reader, ahead], 1.0)
    assert ahead.requests == pytest.approx(20, abs=3)


def test_who_is_pressed_holds_nobody_up_where_the_limit_does_not_bind() -> None:
    clock = Clock()
    rates = Rates(requests=1000, clock=clock)
    reader = Client(rates, Wants(demand_requests=1, pressed=True))
    ahead = Client(rates, Wants(ahead_requests=2))
    run(clock, [reader, ahead], 1.0)
    assert (reader.requests, ahead.requests) == (100, 200)


def test_bytes_that_nobody_asked_for_are_paid_off() -> None:
    clock = Clock()
    rates = Rates(bandwidth=1 << 20, clock=clock)
    client = Client(rates, Wants(demand_bytes=1 << 30))
    rates.spent(5 << 20)
    run(clock, [client], 10.0)
    assert client.bytes == pytest.approx(5 << 20, rel=0.05)
    assert client.requests == 0


def test_without_a_limit_nothing_is_granted_and_nobody_waits() -> None:
    rates = Rates(clock=Clock())
    client = Client(rates, Wants(demand_requests=3))
    client.ask()
    assert (client.requests, rates.bounds) == (0, Bounds())
    trio.run(rates.take)


def test_the_control_plane_waits_for_its_turn() -> None:
    """Nothing but the requests themselves drives the bucket here."""
    times: list[float] = []

    async def main() -> None:
        rates = Rates(requests=10, clock=trio.current_time)
        begin = trio.current_time()

        async def one() -> None:
            await rates.take()
            times.append(trio.current_time() - begin)

        async with trio.open_nursery() as nursery:
            for _ in range(21):
                nursery.start_soon(one)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(2.0, abs=0.1)
    assert max(after - before for before, after in itertools.pairwise(times)) == pytest.approx(0.1, abs=0.02)


def test_a_request_that_is_given_up_takes_no_turn() -> None:
    async def main() -> None:
        rates = Rates(requests=1, clock=trio.current_time)
        await rates.take()
        with trio.move_on_after(0.5) as scope:
            await rates.take()
        assert scope.cancelled_caught
        assert rates.facts()["wanted_requests"] == 0
        begin = trio.current_time()
        await rates.take()
        assert trio.current_time() - begin == pytest.approx(0.5, abs=0.05)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_run_grants_what_falls_due() -> None:
    async def main() -> None:
        rates = Rates(requests=10, clock=trio.current_time)
        client = Client(rates, Wants(demand_requests=5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rates.run)
            await trio.sleep(1.0)
            client.ask()
            assert client.requests == 1
            await trio.sleep(1.0)
            assert client.requests == 5
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_learned_pace_bounds_all_parties_and_is_forgotten() -> None:
    async def main() -> None:
        rates = Rates(clock=trio.current_time)
        client = Client(rates, NOTHING)
        for _ in range(20):
            await trio.sleep(0.1)
            rates.answered(10, 10)
        assert 0 < client.bounds.requests <= 100
        assert rates.facts()["learned_requests"] == pytest.approx(client.bounds.requests, rel=0.5)
        with trio.fail_after(5):
            await rates.take()
        for _ in range(600):
            await trio.sleep(0.1)
            rates.answered(1, 0)
        assert client.bounds == rates.bounds == Bounds()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_parties_are_told_when_the_learned_pace_has_changed_much() -> None:
    clock = Clock()
    rates = Rates(clock=clock)
    client = Client(rates, NOTHING)
    told: list[float] = []
    for _ in range(200):
        clock.now += 0.1
        refused = int(max(0.0, (rates.bounds.requests or 4000.0) - 2000.0) / 10)
        rates.answered(int(min(rates.bounds.requests or 4000.0, 2000.0) / 10), refused)
        if not told or client.bounds.requests != told[-1]:
            told.append(client.bounds.requests)
        assert client.bounds.requests == pytest.approx(rates.bounds.requests, rel=0.34)
    assert 2 <= len(told) <= 10


def test_the_user_s_limit_stays_when_the_learned_one_goes() -> None:
    clock = Clock()
    rates = Rates(requests=100, clock=clock)
    for _ in range(20):
        clock.now += 0.1
        rates.answered(2, 2)
    assert rates.bounds.requests < 50
    for _ in range(1000):
        clock.now += 0.1
        rates.answered(1, 0)
    assert rates.bounds.requests == 100


class Throttling:
    """A store that lets so many requests a second through, in buckets of a tenth of a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tenth = -1
        self._count = 0

    def takes(self, now: float) -> bool:
        if int(now * 10) != self._tenth:
            self._tenth, self._count = int(now * 10), 0
        self._count += 1
        return self._count <= self.rate / 10


@pytest.mark.parametrize("latency", [0.002, 0.03])
def test_64_readers_at_a_ceiling_of_500_get_nine_tenths_of_it_and_no_error(latency: float) -> None:
    """Readers in four processes that learn together; a refused request is repeated as a fetch process repeats it."""
    clock, jitter = Clock(), random.Random(1).random
    rates, store = Rates(clock=clock), Throttling(500.0)
    processes = [Client(rates, NOTHING) for _ in range(4)]
    waiting: list[list[int]] = [[] for _ in processes]  # readers that could ask, each with its failed attempts
    events: list[
        tuple[float, int, int, int, bool | None]
    ] = []  # when, order, process, attempts, answer (None: it is due again)
    order, read, longest = 0, 0, 0
    for reader in range(64):
        waiting[reader % 4].append(0)
    while clock.now < 30.0:
        clock.now += 0.001
        while events and events[0][0] <= clock.now:
            _, _, process, attempts, good = heapq.heappop(events)
            if good is None:
                waiting[process].append(attempts)
                continue
            rates.answered(good, not good)
            if good:
                read += clock.now >= 10.0
                waiting[process].append(0)
                continue
            longest = max(longest, attempts)
            pause = backoff.delay(Retry.LATER, attempts, 0, jitter)
            assert pause is not None
            order += 1
            heapq.heappush(events, (clock.now + pause, order, process, attempts, None))
        for number, client in enumerate(processes):
            client.wants = Wants(demand_requests=len(waiting[number]))
            if client.bounds.requests:
                client.ask()
            while waiting[number] and (client.requests or not client.bounds.requests):
                client.requests -= bool(client.bounds.requests)
                order += 1
                attempts = waiting[number].pop(0) + 1
                heapq.heappush(events, (clock.now + latency, order, number, attempts, store.takes(clock.now)))
    assert read >= 0.9 * 500 * 20
    assert longest <= 8  # attempts; far from a deadline
