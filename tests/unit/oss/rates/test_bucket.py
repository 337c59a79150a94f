"""Token buckets in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossmount.oss.rates.bucket import BURST, CATCH_UP, Bucket, divide


@pytest.mark.parametrize("rate", [0.5, 3.0, 500.0, 1e9])
def test_a_waiting_client_gets_the_rate(rate: float) -> None:
    bucket = Bucket(rate, 1, 0.0)
    taken, now = 0, 0.0
    while now < 20.0:
        now += 0.01
        there = bucket.refill(now)
        bucket.spend(there)
        taken += there
        bucket.wanted = True
    assert taken == pytest.approx(rate * 20, rel=0.02, abs=1.0)


def test_what_collects_while_nobody_asks_is_a_tenth_of_a_second() -> None:
    bucket = Bucket(1000.0, 1, 0.0)
    bucket.spend(bucket.refill(0.0))
    assert bucket.refill(60.0) == 1000 * BURST


def test_a_late_look_loses_nothing_while_somebody_waits() -> None:
    bucket = Bucket(1000.0, 1, 0.0)
    bucket.spend(bucket.refill(0.0))
    bucket.wanted = True
    assert bucket.refill(0.3) == 300
    assert bucket.refill(30.0) == 1000 * CATCH_UP


def test_a_slow_rate_lets_one_through_at_a_time() -> None:
    bucket = Bucket(0.1, 1, 0.0)
    bucket.spend(bucket.refill(0.0))
    assert bucket.refill(9.0) == 0
    assert bucket.until(1) == pytest.approx(1.0)
    assert bucket.refill(10.0) == 1
    assert bucket.refill(1000.0) == 1


def test_debts_are_paid_off_first() -> None:
    bucket = Bucket(100.0, 1, 0.0)
    bucket.spend(110)
    assert bucket.refill(0.5) == 0
    assert bucket.until(1) == pytest.approx(0.51)
    assert bucket.refill(1.02) == 2


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(0, 5))
def test_it_is_divided_evenly_and_completely(amount: int, wants: list[int], first: int) -> None:
    given_ = divide(amount, wants, first)
    assert sum(given_) == min(amount, sum(wants))
    assert all(0 <= part <= want for part, want in zip(given_, wants, strict=True))
    short = [part for part, want in zip(given_, wants, strict=True) if part < want]
    assert not short or max(short) - min(short) <= 1
    assert not short or all(part <= max(short) + 1 for part in given_)


def test_the_odd_ones_go_round() -> None:
    assert [divide(1, [5, 5, 5], turn) for turn in range(3)] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
