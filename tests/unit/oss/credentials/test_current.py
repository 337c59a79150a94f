from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from ossmount.config import Credentials
from ossmount.errors import CredentialsRefused
from ossmount.oss.credentials.current import CurrentCredentials, renewed
from ossmount.oss.credentials.interface import CredentialsError, Fixed, Issued, Temporary

EPOCH = 1_795_000_000.0


class Issuer:
    """Issues credentials that a server of its own clock takes until they expire."""

    name = "issuer"
    renewable = True
    watched = False

    def __init__(self, seconds: float | None = 300.0) -> None:
        self.seconds = seconds
        self.failure: Exception | None = None
        self.asked: list[float] = []  # when, by trio's clock
        self.valid: dict[str, float] = {}  # until when, by trio's clock
        self.skew = 0.0  # of this machine's wall clock
        self.again = False  # the same ones as last time
        self.touched = False

    def wall(self) -> float:
        return EPOCH + trio.current_time() + self.skew

    def obtain(self) -> Issued:
        self.asked.append(trio.current_time())
        if self.failure is not None:
            raise self.failure
        self.touched = False
        if not self.again:
            seconds = math.inf if self.seconds is None else self.seconds
            self.valid[f"id-{len(self.valid)}"] = trio.current_time() + seconds
        identity, until = list(self.valid.items())[-1]
        return Issued(Credentials(identity, "s3cret", "t0ken"), None if self.seconds is None else EPOCH + until)

    def changed(self) -> bool:
        return self.touched

    def takes(self, credentials: Credentials) -> bool:
        """As OSS decides, which has a clock of its own."""
        return trio.current_time() < self.valid.get(credentials.access_key_id, -1.0)


async def inline(call: Callable[[], Issued | bool]) -> Issued | bool:
    await trio.lowlevel.checkpoint()
    return call()


def current_of(issuer: Issuer, spread: float = 0.5) -> CurrentCredentials:
    return CurrentCredentials(issuer, wall=issuer.wall, monotonic=trio.current_time, in_thread=inline, spread=lambda: spread)


@asynccontextmanager
async def running(issuer: Issuer, spread: float = 0.5) -> AsyncIterator[CurrentCredentials]:
    current = current_of(issuer, spread)
    current.load()
    async with renewed(current):
        yield current


def simulated(test: Callable[[], object]) -> None:
    async def main() -> None:
        result = test()
        assert hasattr(result, "__await__")
        await result

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_three_hours_of_tokens_of_five_minutes() -> None:
    """Requests at every second are signed with what OSS takes, with the service away for a minute now and then."""

    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            for second in range(3 * 3600):
                issuer.failure = Temporary("away") if second % 600 > 540 else None
                assert issuer.takes(current()), f"at second {second}"
                await trio.sleep(1.0)
            issuer.failure = None
            await trio.sleep(61.0)
            facts = current.facts()
        assert 3 * 3600 // 300 <= len(issuer.valid) <= 3 * 3600 // 150
        assert facts["refreshes"] == len(issuer.valid) - 1
        assert facts["failing"] is False

    simulated(main)


@pytest.mark.parametrize(
    ("seconds", "spread", "asked_at"),
    [(300.0, 0.0, 200.0), (300.0, 1.0, 175.0), (3600.0, 0.0, 2700.0), (3600.0, 1.0, 2475.0), (21600.0, 0.0, 20700.0)],
)
def test_when_they_are_renewed(seconds: float, spread: float, asked_at: float) -> None:
    async def main() -> None:
        issuer = Issuer(seconds)
        async with running(issuer, spread):
            await trio.sleep(seconds)
        assert issuer.asked[1] == pytest.approx(asked_at, abs=1.0)

    simulated(main)


def test_those_that_never_expire_are_left_alone() -> None:
    async def main() -> None:
        issuer = Issuer(None)
        async with running(issuer) as current:
            await trio.sleep(30 * 86400)
            assert current.facts()["expires_in"] is None
        assert len(issuer.asked) == 1

    simulated(main)


def test_the_last_ones_are_used_while_renewing_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            first = current()
            issuer.failure = CredentialsError("the role is gone")
            await trio.sleep(299.0)
            assert current() == first
            facts = current.facts()
            assert facts["failing"] is True and facts["last_error"] == "the role is gone"
            assert facts["expires_in"] == pytest.approx(1.0, abs=0.5)
            await trio.sleep(600.0)
            assert current() == first  # OSS decides, not this machine's clock
            assert len(issuer.asked) < 30
            issuer.failure = None
            await trio.sleep(61.0)
            assert issuer.takes(current())
            assert current.facts()["failing"] is False

    with caplog.at_level(logging.INFO):
        simulated(main)
    assert 1 <= sum("the role is gone" in record.message for record in caplog.records) <= 4
    assert "s3cret" not in caplog.text and "t0ken" not in caplog.text


def test_a_defect_of_a_source_does_not_end_the_renewal(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            issuer.failure = ZeroDivisionError("8bUkGq2wEXAMPLEp0Vd7rX1yZ2aB3c")
            await trio.sleep(250.0)
            assert current.facts()["last_error"] == "issuer: ZeroDivisionError: ***"
            issuer.failure = None
            await trio.sleep(49.0)
            assert issuer.takes(current())

    simulated(main)


def test_a_source_that_hangs_is_given_up_and_asked_again() -> None:
    async def main() -> None:
        issuer = Issuer(600.0)
        current = current_of(issuer)
        current.load()
        hanging = True

        async def in_thread(call: Callable[[], Issued | bool]) -> Issued | bool:
            if hanging:
                await trio.sleep_forever()
            return await inline(call)

        current._in_thread = in_thread
        async with renewed(current):
            await trio.sleep(500.0)
            assert "no answer within 90 s" in str(current.facts()["last_error"])
            hanging = False
            await trio.sleep(99.0)
            assert issuer.takes(current()) and len(issuer.valid) == 2

    simulated(main)


def test_a_clock_that_is_set_forward_renews_at_once_and_backward_does_no_harm() -> None:
    async def main() -> None:
        issuer = Issuer(3600.0)
        async with running(issuer) as current:
            issuer.skew = 7200.0
            await trio.sleep(31.0)
            assert len(issuer.valid) >= 2
            issuer.skew = 0.0
            await trio.sleep(60.0)
            asked = len(issuer.asked)
            issuer.skew = -7200.0  # the Expiration seems to be hours away: the seconds that have passed count
            for _ in range(3600):
                assert issuer.takes(current())
                await trio.sleep(1.0)
            assert len(issuer.asked) > asked

    simulated(main)


def test_an_expiration_in_the_past_is_reported_and_they_are_used(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        issuer.skew = 1000.0
        async with running(issuer) as current:
            assert current().access_key_id == "id-0"
            await trio.sleep(600.0)
            assert 5 < len(issuer.asked) < 40  # with pauses that grow
            assert issuer.takes(current())

    simulated(main)
    assert caplog.text.count("although they have expired by this machine's clock") in (1, 2)


def test_who_is_refused_waits_for_others() -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            await trio.sleep(10.0)
            refused = current()
            assert await current.renew(refused)
            assert current() != refused and len(issuer.asked) == 2
            assert trio.current_time() <= 11.0
            assert await current.renew(refused)  # there are others already
            assert len(issuer.asked) == 2
            issuer.failure = Temporary("away")
            refused, start = current(), trio.current_time()
            with trio.move_on_after(120.0) as scope:
                await current.renew(refused)
            assert scope.cancelled_caught  # as long as the caller has time
            assert len(issuer.asked) < 60
            issuer.failure = None
            assert await current.renew(refused)
            assert trio.current_time() - start < 126.0

    simulated(main)


def test_who_is_refused_long_after_the_last_attempt_does_not_wait_for_the_next_one() -> None:
    """Attempts that fail are a minute apart; when somebody waits for them, seconds."""

    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            issuer.failure = Temporary("away")
            await trio.sleep(1000.0)
            while trio.current_time() - issuer.asked[-1] < 20.0:
                await trio.sleep(1.0)
            issuer.failure = None
            start = trio.current_time()
            assert await current.renew(current())
            assert trio.current_time() - start < 1.0

    simulated(main)


def test_who_is_refused_does_not_wait_for_the_same() -> None:
    async def main() -> None:
        issuer = Issuer(3600.0)
        async with running(issuer) as current:
            issuer.again = True
            for _ in range(3):
                assert not await current.renew(current())
            assert len(issuer.asked) == 4
            assert trio.current_time() <= 4.0  # with a second between two attempts
        fixed = CurrentCredentials(Fixed("env", Credentials("id", "s3cret")))
        fixed.load()
        assert not await fixed.renew(fixed())

    simulated(main)


def test_many_who_are_refused_ask_once() -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            refused = current()
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(current.renew, refused)
            assert len(issuer.asked) == 2

    simulated(main)


def test_a_file_is_looked_at_every_second() -> None:
    async def main() -> None:
        issuer = Issuer(None)
        issuer.watched = True
        async with running(issuer) as current:
            await trio.sleep(100.0)
            assert len(issuer.asked) == 1
            issuer.touched = True
            await trio.sleep(1.5)
            assert current().access_key_id == "id-1"
            issuer.touched, issuer.failure = True, CredentialsError("unreadable")
            await trio.sleep(600.0)
            assert current().access_key_id == "id-1"
            issuer.failure = None
            await trio.sleep(2.5)
            assert current().access_key_id == "id-2"

    simulated(main)


def test_the_first_ones(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        issuer.failure = Temporary("away")
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            issuer.failure = None if len(pauses) == 2 else issuer.failure

        current_of(issuer).load(sleep=sleep)
        assert pauses == [0.75, 1.5] and len(issuer.asked) == 3
        issuer.failure = CredentialsError("wrong")
        with pytest.raises(CredentialsError, match="wrong"):
            current_of(issuer).load(sleep=sleep)
        assert len(pauses) == 2  # nothing would get better

    simulated(main)


def test_a_daemon_that_follows_starts_without() -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        issuer.failure = CredentialsError("away")
        current = current_of(issuer)
        with pytest.raises(CredentialsRefused, match="there are no credentials yet: they were not asked for"):
            current()
        assert current.facts()["access_key_id"] == ""
        assert repr(current) == "<CurrentCredentials issuer>"
        async with renewed(current):
            with trio.move_on_after(20.0) as scope:
                await current.renew(None)
            assert scope.cancelled_caught
            with pytest.raises(CredentialsRefused, match="there are no credentials yet: away"):
                current()
            issuer.failure = None
            assert await current.renew(None)
            assert issuer.takes(current())

    simulated(main)


def test_nothing_shows_a_secret() -> None:
    async def main() -> None:
        issuer = Issuer(300.0)
        async with running(issuer) as current:
            shown = f"{current!r} {current.facts()} {current()!r} {issuer.obtain()!r}"
            assert "s3cret" not in shown and "t0ken" not in shown and "id-0" in shown

    simulated(main)
