from __future__ import annotations

from ossmount.filesystem.ahead.pace import FIRST, LEAST, TRIAL, TRY_AGAIN, Gate, Landing, Pace


def test_the_gate_opens_where_look_ahead_pays_and_does_not_flap() -> None:
    gate = Gate()
    said = [gate.update(latency) for latency in (None, 0.001, 0.0025, 0.004, 0.0025, None, 0.0015, 0.0025, 0.015)]
    assert said == [False, False, False, True, True, True, False, False, True]


def rounds(pace: Pace, seconds: float, count: int) -> None:
    for _ in range(count):
        for _ in range(pace.limit):
            pace.took(seconds)


def test_grows_while_nothing_queues() -> None:
    pace = Pace(112)
    rounds(pace, 0.016, 6)
    assert pace.limit == 112


def test_falls_when_fetches_queue_and_recovers() -> None:
    pace = Pace(112)
    rounds(pace, 0.016, 6)
    rounds(pace, 0.120, 4)
    low = pace.limit
    assert LEAST <= low < 112
    rounds(pace, 0.016, 6)
    assert pace.limit == 112


def test_a_store_that_is_slow_for_good_is_the_new_measure() -> None:
    pace = Pace(112)
    rounds(pace, 0.016, 4)
    rounds(pace, 0.200, 30)
    assert pace.limit == 112


def test_few_connections() -> None:
    assert Pace(1).limit == LEAST
    assert Pace(8).limit == 8
    assert Pace(1000).limit == FIRST


def test_failures_make_it_smaller() -> None:
    pace = Pace(112)
    for _ in range(100):
        pace.failed()
    assert pace.limit == LEAST


def tried(landing: Landing, landed: bool, now: float = 0.0) -> int:
    """Files until it ends, at most 1,000."""
    for number in range(1000):
        if not landing.pays(now):
            return number
        landing.started()
        landing.ended(landed, now)
    return 1000


def test_delivery_is_tried_and_tried_again() -> None:
    landing = Landing()
    assert tried(landing, False) == TRIAL
    assert not landing.pays(TRY_AGAIN - 1)
    assert not landing.pays(TRY_AGAIN + 1)  # and from now on another trial
    assert tried(landing, True, TRY_AGAIN + 1) == 1000
    assert tried(landing, False, TRY_AGAIN + 1) < 4 * TRIAL


def test_no_more_than_a_trial_is_started_before_it_is_over() -> None:
    landing = Landing()
    for _ in range(TRIAL):
        assert landing.pays(0.0)
        landing.started()
    assert not landing.pays(0.0)
    landing.undone()
    assert landing.pays(0.0)
