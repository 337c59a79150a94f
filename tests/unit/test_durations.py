"""Histograms of durations: what is put in comes out again, to within a bucket."""

from __future__ import annotations

import random

import pytest

from ossmount.durations import Durations, between, merged, merged_tables, quantile


def of(*seconds: float) -> Durations:
    durations = Durations()
    for each in seconds:
        durations.add(each)
    return durations


def test_a_bucket_holds_what_is_below_its_power_of_two() -> None:
    facts = of(0.0, 0.9e-6, 1e-6, 3e-6, 1.0).facts()
    assert facts["buckets"][:3] == [2, 1, 1]
    assert facts["buckets"][20] == 1 and len(facts["buckets"]) == 21  # 2**19 < 1,000,000 us <= 2**20
    assert facts["count"] == 5
    assert facts["seconds"] == pytest.approx(1.0, abs=1e-4)


def test_quantiles_are_right_to_within_their_bucket() -> None:
    rng = random.Random(5)
    values = sorted(rng.lognormvariate(-6, 2) for _ in range(5000))
    facts = of(*values).facts()
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        true = values[max(0, round(share * len(values)) - 1)]
        found = quantile(facts, share)
        assert found is not None and true / 2 <= found <= true * 2


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(Durations().facts(), 0.5) is None
    assert Durations().facts() == {"count": 0, "seconds": 0, "buckets": []}


def test_several_are_one_and_one_less_another_is_what_came_since() -> None:
    first, second = of(0.001, 0.5).facts(), of(0.001, 30.0).facts()
    both = merged([first, second])
    assert both == of(0.001, 0.5, 0.001, 30.0).facts()
    since = between(first, both)
    assert (since["count"], round(since["seconds"], 3)) == (2, 30.001)
    assert quantile(since, 1.0) == pytest.approx(33.5, abs=0.1)
    assert merged_tables([{"get": first}, {"get": second, "list": first}]) == {"get": both, "list": first}


def test_a_daemon_that_began_anew_has_no_negative_durations() -> None:
    assert between(of(1.0, 2.0, 3.0).facts(), of(0.5).facts()) == of(0.5).facts()


def test_what_takes_years_has_a_bucket() -> None:
    assert of(3e7).facts()["count"] == 1
