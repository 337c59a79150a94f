"""The tokens of a fetch process, with connections that do nothing."""

from __future__ import annotations

from typing import cast

import pytest

from ossmount.oss.fetch import wire
from ossmount.oss.fetch.allowance import NOTHING, Allowance, Lack
from ossmount.oss.fetch.connection import Connection
from ossmount.oss.fetch.job import Job

KIB, MIB = 1 << 10, 1 << 20
PREPAID = 256 * KIB
SLAB = memoryview(bytearray(8 * MIB))


class FakeConnection:
    """Carries a job and remembers whether it may receive."""

    def __init__(self, job: Job) -> None:
        self.job = job
        job.connection = cast(Connection, self)
        self.paused = False

    def pause(self, paused: bool, now: float) -> None:
        self.paused = paused


def carried(allowance: Allowance, size: int, *, demand: bool, received: int = 0) -> FakeConnection:
    """A job that was started and has received so much."""
    job = Job((wire.START, 1, b"key", "E1", 64 * MIB, 4096, size, ((0, size),), demand, True, 0.0, False), SLAB)
    allowance.started(job)
    job.scatter.received = received
    return FakeConnection(job)


def balance(allowance: Allowance, *connections: FakeConnection, waiting: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Lack:
    return allowance.balance([cast(Connection, connection) for connection in connections], waiting, 0.0)


@pytest.fixture
def allowance() -> Allowance:
    """Of 10 MiB a second."""
    made = Allowance(PREPAID)
    made.bound(0, 10 * MIB)
    return made


def test_without_a_limit_everything_is_allowed() -> None:
    free = Allowance(0)
    connection = carried(free, 8 * MIB, demand=False, received=MIB)
    assert free.may_start(demand=False)
    assert balance(free, connection, waiting=(5, 5, 0, 0)) == NOTHING
    assert not connection.paused
    assert not free.bounded


def test_a_request_takes_a_token_and_nothing_is_asked_for_while_half_the_reserve_is_there() -> None:
    allowance = Allowance(0)
    allowance.bound(100, 0)  # a reserve of 5
    assert not allowance.may_start(demand=True)
    assert balance(allowance, waiting=(3, 9, 0, 0)) == (3, 2, 0, 0, True)
    allowance.grant(5, 0)
    assert balance(allowance, waiting=(3, 9, 0, 0)) == NOTHING
    for _ in range(3):
        carried(allowance, KIB, demand=True)
    assert allowance.may_start(demand=False)
    assert balance(allowance, waiting=(0, 9, 0, 0)) == (0, 3, 0, 0, False)
    assert allowance.seen == (5, 0)


def test_the_beginning_is_paid_at_the_start_and_the_rest_as_it_comes(allowance: Allowance) -> None:
    assert not allowance.may_start(demand=True)
    allowance.grant(0, 300 * KIB)
    connection = carried(allowance, MIB, demand=True, received=PREPAID)
    assert balance(allowance, connection)[2:] == (max(PREPAID, MIB // 2) - 44 * KIB, 0, True)
    assert not connection.paused  # 44 KiB are left
    connection.job.scatter.received += 100 * KIB
    balance(allowance, connection)
    assert connection.paused  # 56 KiB are owed
    assert not allowance.may_start(demand=True)
    allowance.grant(0, 57 * KIB)
    balance(allowance, connection)
    assert not connection.paused


def test_what_is_prepaid_may_always_come(allowance: Allowance) -> None:
    connection = carried(allowance, MIB, demand=False, received=10 * KIB)
    balance(allowance, connection)
    assert not connection.paused


def test_ahead_receives_what_demand_leaves(allowance: Allowance) -> None:
    reader = carried(allowance, 2 * MIB, demand=True, received=PREPAID)
    ahead = carried(allowance, 2 * MIB, demand=False, received=PREPAID)
    allowance.grant(0, 2 * PREPAID + MIB)
    balance(allowance, reader, ahead)
    assert (reader.paused, ahead.paused) == (False, True)
    assert not allowance.may_start(demand=False)
    allowance.grant(0, 4 * MIB)  # a limit that is none: readahead is not held up by it
    balance(allowance, reader, ahead)
    assert (reader.paused, ahead.paused) == (False, False)
    assert allowance.may_start(demand=False)


def test_tokens_of_requests_do_not_outlive_their_limit() -> None:
    allowance = Allowance(0)
    allowance.bound(100, 0)
    allowance.grant(5, 0)
    allowance.bound(0, 0)
    allowance.bound(100, 0)
    assert not allowance.may_start(demand=True)
