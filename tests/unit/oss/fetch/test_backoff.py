from __future__ import annotations

import pytest

from ossmount.oss.fetch.backoff import delay
from ossmount.oss.fetch.trouble import Retry


@pytest.mark.parametrize(("retry", "first", "most"), [(Retry.SOON, 0.02, 2.0), (Retry.LATER, 0.2, 2.0)])
def test_grows_from_the_first_delay_to_the_most_with_jitter(retry: Retry, first: float, most: float) -> None:
    lows = [delay(retry, attempts, 0, lambda: 0.0) for attempts in range(1, 40)]
    highs = [delay(retry, attempts, 0, lambda: 0.999) for attempts in range(1, 40)]
    assert lows[0] == first / 2
    assert lows[-1] == most / 2
    assert lows == sorted(lows, key=lambda low: low or 0.0)
    assert all(low is not None and high is not None and low < high <= 2 * low for low, high in zip(lows, highs, strict=True))


def test_never_and_once() -> None:
    assert delay(Retry.NEVER, 1, 0, lambda: 0.5) is None
    assert delay(Retry.ONCE, 1, 1, lambda: 0.5) == 0.0
    assert delay(Retry.ONCE, 2, 2, lambda: 0.5) is None


def test_at_once_does_not_spin() -> None:
    delays = [delay(Retry.AT_ONCE, attempts, 0, lambda: 0.5) for attempts in range(1, 8)]
    assert delays[0] == 0.0
    assert delays[-1] is not None and delays[-1] > 0.0
