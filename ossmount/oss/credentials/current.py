"""The credentials of the moment, renewed in the background before they expire.

Concurrency: everything here runs on the event loop's thread, but for the provider's obtain() and changed(), which run in a
thread, one at a time. Readers never wait for a renewal that is merely due: they sign with what is there, and only those whose
request OSS has refused wait for other credentials.

Clocks: an Expiration is wall-clock time, and wall clocks jump. What is left is the less of what the wall clock says and of
what was left when the credentials came less the seconds that have passed since. Nothing is refused for that alone: OSS
decides whether credentials have expired, and the last ones are used until there are others.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from ossmount.config import Credentials
from ossmount.errors import CredentialsRefused
from ossmount.oss.credentials.documents import masked
from ossmount.oss.credentials.interface import CredentialsError, Issued, Provider, Temporary

T = TypeVar("T")
#: Runs a blocking call while the event loop goes on.
InThread = Callable[[Callable[[], T]], Awaitable[T]]

_log = logging.getLogger(__name__)

_MARGIN = 900.0  # seconds before their end at which credentials are renewed; a third of short lives
_SPREAD = 0.25  # of the margin: by how much earlier it may be, at random, so that 500 machines do not ask at once
_LIMIT = 90.0  # seconds for one attempt; the services' own limits are well below
_LONGEST_PAUSE = 60.0  # seconds between attempts that fail
_AWAITED_PAUSE = 5.0  # the same, while requests wait for them
_WATCH = 1.0  # seconds between two looks at a file, and at the least between two attempts
_LOOK = 30.0  # seconds after which a clock that was set is noticed
_LOG_AGAIN = 600.0  # seconds after which the same failure is logged again
_FIRST_ATTEMPTS = 3


class CurrentCredentials:
    """Callable for the credentials of the moment; `run` is a component of the mount, which renews them."""

    def __init__(
        self,
        provider: Provider,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        in_thread: InThread[Issued | bool] | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._wall = wall
        self._monotonic = monotonic
        self._limiter = trio.CapacityLimiter(1)  # a call that hangs keeps its place: threads do not pile up
        self._in_thread = in_thread or self._in_worker
        self._spread = spread
        self._issued: Issued | None = None
        self._life = math.inf  # seconds that were left when they came
        self._came = 0.0  # when, on the monotonic clock
        self._margin = 0.0
        self._asked = -math.inf  # when the last attempt ended
        self._failing = 0  # attempts in a row that gave nothing new though something was due
        self._failure = ""  # why the last attempt failed
        self._logged = ("", -math.inf)
        self._renewals = self._failures = 0
        self._last_failure: tuple[str, float] | None = None
        self._wish = trio.Event()  # somebody waits for others
        self._answer = trio.Event()  # set when the next attempt has ended

    def __repr__(self) -> str:
        return f"<CurrentCredentials {self._provider.name}>"

    def __call__(self) -> Credentials:
        """What to sign with now. Raises CredentialsRefused while there were none yet."""
        if self._issued is None:
            raise CredentialsRefused(f"there are no credentials yet: {self._failure or 'they were not asked for'}")
        return self._issued.credentials

    def load(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Obtains the first ones, blocking, with a few attempts; without it `run` obtains them. Raises CredentialsError."""
        for attempt in range(_FIRST_ATTEMPTS):
            try:
                self._take(self._provider.obtain())
                self._asked = self._monotonic()
                return
            except CredentialsError as error:
                if not isinstance(error, Temporary) or attempt == _FIRST_ATTEMPTS - 1:
                    raise
                self._failed(str(error))
            sleep((1 + self._spread()) * 2**attempt / 2)

    async def renew(self, refused: Credentials | None) -> bool:
        """Waits until there are others than those that OSS has refused; False when none are to be expected soon.

        While renewals fail, or give what is about to expire, the wait goes on: the caller's deadline ends it.
        """
        while self._same(refused):
            if not self._provider.renewable:
                return False
            self._wish.set()
            await self._answer.wait()
            if self._same(refused) and not self._failure and self.left() > self._margin:
                return False
        return True

    def _same(self, refused: Credentials | None) -> bool:
        return refused == (None if self._issued is None else self._issued.credentials)

    def left(self) -> float:
        """Seconds until they expire; inf for ever."""
        if self._issued is None or self._issued.expires is None:
            return math.inf
        return min(self._issued.expires - self._wall(), self._life - (self._monotonic() - self._came))

    def facts(self) -> dict[str, object]:
        """For `ossmount status`. Times in seconds: expires_in until then, the others since then."""
        now, left = self._monotonic(), self.left()
        identity = "" if self._issued is None else self._issued.credentials.access_key_id
        failure = self._last_failure
        return {
            "provider": self._provider.name,
            "access_key_id": f"{identity[:4]}…{identity[-4:]}" if len(identity) > 12 else identity,
            "expires_in": None if left == math.inf else round(left, 1),
            "last_refresh": None if self._issued is None else round(now - self._came, 1),
            "refreshes": self._renewals,
            "failures": self._failures,
            "failing": bool(self._failure),
            "last_error": None if failure is None else failure[0],
            "last_error_ago": None if failure is None else round(now - failure[1], 1),
        }

    # -- the component

    async def run(self, started: Callable[[], None]) -> None:
        """Renews until cancelled."""
        started()
        while True:
            await self._until_due()
            await self._attempt()

    async def _until_due(self) -> None:
        """Returns when the next attempt is to be made."""
        while (pause := self._pause()) > 0:
            watching = self._provider.watched and not self._failure
            look = _WATCH if watching else _LOOK if pause < math.inf else math.inf
            with trio.move_on_after(min(pause, look)):
                await self._wish.wait()
                # not more often than that, however many requests are refused
                soonest = self._pause() if self._failing else self._asked + _WATCH - self._monotonic()
                await trio.sleep(max(0.0, soonest))
                return
            if watching and await self._changed():
                return

    def _pause(self) -> float:
        """Seconds until the next attempt; 0 or less for now."""
        since = self._monotonic() - self._asked
        if self._failing:
            longest = 2 * _WATCH if self._provider.watched else _AWAITED_PAUSE if self._wish.is_set() else _LONGEST_PAUSE
            return min(longest, _WATCH * 2.0 ** min(self._failing - 1, 10)) * (0.5 + self._spread() / 2) - since
        if self._issued is None:
            return 0.0
        return self.left() - self._margin if self._provider.renewable else math.inf

    async def _changed(self) -> bool:
        try:
            with trio.move_on_after(_LIMIT):
                return bool(await self._in_thread(self._provider.changed))
        except Exception:
            _log.exception("%s cannot be looked at", self._provider.name)
        return True

    async def _attempt(self) -> None:
        self._wish = trio.Event()
        try:
            with trio.fail_after(_LIMIT):
                issued = await self._in_thread(self._provider.obtain)
            assert isinstance(issued, Issued)
            self._take(issued)
        except CredentialsError as error:
            self._failed(str(error))
        except trio.TooSlowError:
            self._failed(f"{self._provider.name}: no answer within {_LIMIT:g} s")
        except Exception as error:  # a defect of one source must not end a mount that still has credentials
            _log.exception("%s failed", self._provider.name)
            self._failed(f"{self._provider.name}: {type(error).__name__}: {masked(str(error))}")
        self._asked = self._monotonic()
        answer, self._answer = self._answer, trio.Event()
        answer.set()

    async def _in_worker(self, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)

    def _take(self, issued: Issued) -> None:
        """They came. The same ones again are no renewal: their life has not begun anew."""
        self._failure = ""
        if issued == self._issued:
            self._failing = self._failing + 1 if self.left() <= self._margin else 0
            return
        first, self._issued = self._issued is None, issued
        self._came = self._monotonic()
        self._life = math.inf if issued.expires is None else issued.expires - self._wall()
        self._margin = min(_MARGIN, max(self._life, 0.0) / 3) * (1 + _SPREAD * self._spread())
        self._renewals += not first
        if self._life <= 0:  # asked for again, with pauses that grow
            self._failing += 1
            self._warn("credentials from %s are used although they have expired by this machine's clock", self._provider.name)
            return
        self._failing = 0
        life = "" if issued.expires is None else f", valid for {self._life:.0f} s"
        _log.info("%s credentials from %s%s", "first" if first else "new", self._provider.name, life)

    def _failed(self, why: str) -> None:
        self._failure = why
        self._failing += 1
        self._failures += 1
        self._last_failure = (why, self._monotonic())
        self._warn("credentials were not renewed: %s; %s", why, self._state())

    def _state(self) -> str:
        if self._issued is None:
            return "there are none"
        left = self.left()
        return "the last ones stay in use" + ("" if left == math.inf else ", still valid" if left > 0 else ", expired by now")

    def _warn(self, text: str, *values: str) -> None:
        """Logs it, but not the same again and again."""
        message, now = text % values, self._monotonic()
        if message != self._logged[0] or now - self._logged[1] >= _LOG_AGAIN:
            self._logged = (message, now)
            _log.warning("%s", message)


@asynccontextmanager
async def renewed(current: CurrentCredentials) -> AsyncIterator[None]:
    """Renews as long as the block runs, for what is no mount."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_run, current)
        yield
        nursery.cancel_scope.cancel()


async def _run(current: CurrentCredentials, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    await current.run(task_status.started)
