"""The learned rate against a simulated ceiling, in simulated time."""

from __future__ import annotations

import math

import pytest

from ossmount.oss.fetch.pace import Pace


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


def _run(
    pace: Pace, ceiling: Ceiling, begin: float, seconds: float, *, asked: float = 4000.0, latency: float = 0.0
) -> tuple[int, int]:
    """(taken, throttled) requests of a client that would like to ask at a steady rate."""
    taken = throttled = 0
    answers: list[tuple[float, bool]] = []
    for step in range(int(seconds * asked)):
        now = begin + step / asked
        while answers and answers[0][0] <= now:
            _, good = answers.pop(0)
            (pace.answered if good else pace.throttled)(now)
        if pace.wait(now) > 0:
            continue
        pace.started(now)
        good = ceiling.takes(now)
        taken += good
        throttled += not good
        answers.append((now + latency, good))
    return taken, throttled


@pytest.mark.parametrize("latency", [0.0, 0.05])
@pytest.mark.parametrize("rate", [50.0, 500.0, 2000.0])
def test_a_ceiling_is_used_to_nine_tenths_with_few_refusals(rate: float, latency: float) -> None:
    pace = Pace(0.0)
    _run(pace, Ceiling(rate), 0.0, 5.0, latency=latency, asked=2 * rate)
    taken, throttled = _run(pace, Ceiling(rate), 5.0, 15.0, latency=latency, asked=2 * rate)
    assert taken >= 0.9 * rate * 15
    assert throttled <= 0.2 * taken


def test_single_refusals_slow_nothing_down() -> None:
    pace = Pace(0.0)
    for number in range(1, 100_000):
        (pace.throttled if number % 10 == 0 else pace.answered)(number / 1000)
    assert pace.rate == math.inf


def test_no_limit_before_the_first_refusal() -> None:
    pace = Pace(0.0)
    assert _run(pace, Ceiling(math.inf), 0.0, 5.0) == (20_000, 0)
    assert pace.rate == math.inf


def test_a_lifted_ceiling_is_left_behind() -> None:
    pace = Pace(0.0)
    _run(pace, Ceiling(500.0), 0.0, 5.0, asked=1000.0)
    assert pace.rate < 700.0
    _run(pace, Ceiling(math.inf), 5.0, 10.0, asked=1000.0)
    assert pace.rate > 1000.0
    assert pace.wait(15.0) == 0.0


def test_nothing_gets_through_and_then_everything() -> None:
    pace = Pace(0.0)
    _run(pace, Ceiling(0.0), 0.0, 10.0)
    assert pace.rate < 10.0
    assert pace.wait(10.0) <= 1.0
    taken, _ = _run(pace, Ceiling(math.inf), 10.0, 30.0)
    assert taken > 20_000
