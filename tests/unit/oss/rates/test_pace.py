"""The learned rate against a simulated ceiling, in simulated time."""

from __future__ import annotations

import itertools
import math
from collections import deque

import pytest

from ossmount.oss.rates.pace import Pace


class Ceiling:
    """Takes so many requests a second, in buckets of a tenth of a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._bucket = (-1, 0)

    def takes(self, now: float) -> bool:
        tenth = int(now * 10)
        count = self._bucket[1] if self._bucket[0] == tenth else 0
        self._bucket = (tenth, count + 1)
        return count < self.rate / 10


class Client:
    """Asks at most at the learned rate, and would like to ask `asked` times a second."""

    def __init__(self, ceiling: Ceiling, *, asked: float = 4000.0, latency: float = 0.0) -> None:
        self.pace = Pace(0.0)
        self.ceiling = ceiling
        self.asked = asked
        self.latency = latency
        self._now = 0.0
        self._next = 0.0

    def run(self, seconds: float) -> tuple[int, int]:
        """(taken, throttled) requests of so many seconds."""
        taken = throttled = 0
        answers: deque[tuple[float, bool]] = deque()
        begin = self._now
        for step in range(int(seconds * self.asked)):
            self._now = now = begin + step / self.asked
            while answers and answers[0][0] <= now:
                _, good = answers.popleft()
                self.pace.answered(good, not good, now)
            if now < self._next:
                continue
            self._next = max(self._next, now - 0.02) + 1 / self.pace.rate
            good = self.ceiling.takes(now)
            taken += good
            throttled += not good
            answers.append((now + self.latency, good))
        return taken, throttled


@pytest.mark.parametrize("latency", [0.0, 0.05])
@pytest.mark.parametrize("rate", [50.0, 500.0, 2000.0])
def test_a_ceiling_is_used_to_nine_tenths_with_few_refusals(rate: float, latency: float) -> None:
    client = Client(Ceiling(rate), latency=latency, asked=2 * rate)
    client.run(5.0)
    taken, throttled = client.run(40.0)
    assert taken >= 0.9 * rate * 40
    assert throttled <= 0.1 * taken


def test_a_first_cut_that_was_too_deep_is_made_good_quickly() -> None:
    """Readers whose requests were refused wait: what gets through then is less than what could."""
    pace = Pace(0.0)
    pace.answered(10, 60, 0.5)
    assert pace.rate < 20.0
    for window in range(2, 20):
        pace.answered(int(min(pace.rate, 500.0) / 2), int(max(0.0, pace.rate - 500.0) / 2), window / 2)
    assert pace.rate > 450.0


def test_it_falls_at_once_and_grows_by_equal_steps() -> None:
    client = Client(Ceiling(500.0))
    while client.pace.rate == math.inf:
        client.run(0.5)
    before = client.pace.rate
    while client.pace.rate >= before:  # the search ends with a cut
        before = client.pace.rate
        client.run(0.5)
    rates = []
    for _ in range(8):
        client.run(0.5)
        rates.append(client.pace.rate)
    steps = [after - before for before, after in itertools.pairwise(rates) if after > before]
    assert max(steps) == pytest.approx(min(steps), rel=0.05)
    assert rates[0] == pytest.approx(0.95 * 500, rel=0.1)


def test_single_refusals_slow_nothing_down() -> None:
    pace = Pace(0.0)
    for number in range(1, 100_000):
        pace.answered(number % 10 != 0, number % 10 == 0, number / 1000)
    assert pace.rate == math.inf


def test_no_limit_before_the_first_refusal() -> None:
    client = Client(Ceiling(math.inf))
    assert client.run(5.0) == (20_000, 0)
    assert client.pace.rate == math.inf


def test_a_lifted_ceiling_is_left_behind() -> None:
    client = Client(Ceiling(500.0), asked=1000.0)
    client.run(5.0)
    assert client.pace.rate < 700.0
    client.ceiling = Ceiling(math.inf)
    client.run(14.0)
    assert client.pace.rate > 1000.0


def test_nothing_gets_through_and_then_everything() -> None:
    client = Client(Ceiling(0.0))
    client.run(10.0)
    assert 1.0 <= client.pace.rate < 10.0
    client.ceiling = Ceiling(math.inf)
    taken, _ = client.run(40.0)
    assert taken > 20_000


@pytest.mark.parametrize("known", [True, False])
def test_the_end_of_an_outage_is_met_within_seconds(known: bool) -> None:
    """Everything is refused for 30 s, with a ceiling that was known before, or from the first request on."""
    client = Client(Ceiling(500.0 if known else 0.0))
    client.run(5.0)
    client.ceiling = Ceiling(0.0)
    client.run(30.0)
    assert client.pace.rate < 10.0
    client.ceiling = Ceiling(500.0)
    assert client.run(2.0)[0] > 40
    client.run(3.0)
    taken, throttled = client.run(1.0)
    assert taken >= 0.9 * 500
    assert throttled <= 0.5 * taken


def test_the_end_of_an_outage_is_met_also_by_who_asks_for_little() -> None:
    """One request now and then, as readers do that wait for each answer: the next ones find a rate that lets them through."""
    client = Client(Ceiling(0.0))
    client.run(30.0)
    client.pace.answered(3, 2, 30.6)  # the outage ends in the middle of it
    for window in range(6):
        client.pace.answered(1, 0, 31.2 + 0.6 * window)
    assert client.pace.rate >= 30.0


def test_a_machine_that_stood_still_soon_asks_as_before() -> None:
    """What it asks all at once then is refused in part, and says nothing about the ceiling."""
    client = Client(Ceiling(500.0))
    client.run(20.0)
    before, cut = client.pace.rate, client.pace.rate
    for when in (20.6, 21.2):
        client.pace.answered(40, 20, when)
        cut = min(cut, client.pace.rate)
    assert cut >= 0.6 * before
    client.pace.answered(int(cut * 0.6), 0, 21.8)
    assert client.pace.rate >= 0.9 * 500


def test_a_ceiling_of_a_few_requests_is_not_hammered() -> None:
    client = Client(Ceiling(20.0), asked=100.0)
    client.run(10.0)
    taken, throttled = client.run(40.0)
    assert taken >= 0.9 * 20 * 40
    assert throttled <= 0.4 * taken


def test_a_lower_ceiling_is_learned_within_seconds() -> None:
    client = Client(Ceiling(1000.0))
    client.run(20.0)
    client.ceiling = Ceiling(200.0)
    client.run(5.0)
    taken, throttled = client.run(20.0)
    assert taken >= 0.9 * 200 * 20
    assert throttled <= 0.1 * taken


def test_it_is_forgotten_when_less_is_asked_for() -> None:
    client = Client(Ceiling(500.0))
    client.run(5.0)
    client.asked = 20.0
    client.run(60.0)
    assert client.pace.rate == math.inf
