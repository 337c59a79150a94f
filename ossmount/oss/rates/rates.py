"""One place that says how many requests and bytes may be asked of OSS now: by all fetch processes and the control plane.

The user's limits and the learned pace (pace.py) are token buckets in the daemon. Who asks OSS is a *party*: it says what it
wants, for readers who wait (demand) and ahead of them, and is granted tokens: demand of all parties first, then what is left
for the rest. Without a limit nobody asks here, and nothing is granted.

A limit delays and never fails by itself: who waits for tokens waits within the deadline of what it does.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from ossmount.oss.rates.bucket import BURST, CATCH_UP, Bucket, divide
from ossmount.oss.rates.pace import Pace

#: Seconds between two grants at least, so that a high limit is not a message for each request.
_TICK: Final = 0.005
#: Bytes that may collect at any limit: what one receive brings.
_LEAST_BYTES: Final = 64 << 10


class Wants(NamedTuple):
    """What a party could use at once, beyond what it was granted already."""

    demand_requests: int = 0
    ahead_requests: int = 0
    demand_bytes: int = 0
    ahead_bytes: int = 0
    pressed: bool = False  # readers wait for more than was granted, also where no more is asked for now


NOTHING: Final = Wants()


class Bounds(NamedTuple):
    """What is limited, to how much a second; 0: not limited."""

    requests: float = 0.0
    bandwidth: float = 0.0


class Party:
    """One that asks OSS. `granted` is called with the requests and bytes that it may use, `bounded` when the bounds change."""

    def __init__(self, rates: Rates, granted: Callable[[int, int], None], bounded: Callable[[Bounds], None]) -> None:
        self._rates = rates
        self.granted = granted
        self.bounded = bounded
        self.wants = NOTHING

    def want(self, wants: Wants) -> None:
        """Replaces what was wanted before; granted may be called before this returns."""
        self.wants = wants
        self._rates.settle()


class Rates:
    """The limits of one mount."""

    def __init__(self, requests: float = 0, bandwidth: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """requests, bandwidth: a second, that the user allows; 0: as many as OSS does."""
        now = clock()
        self._clock = clock
        self._pace = Pace(now)
        self._most = requests or math.inf
        self._requests = Bucket(requests, 1, now) if requests else None
        self._bytes = Bucket(bandwidth, _LEAST_BYTES, now) if bandwidth else None
        self._parties: list[Party] = []
        self._wake = trio.Event()
        self._waiters: deque[trio.Event] = deque()  # requests of the control plane
        self._control = self.join(self._control_granted, lambda bounds: None)
        self._told = self._most  # the rate of requests that the parties know
        self._granted = [0, 0]  # requests and bytes
        self._refused = 0
        self._waited = 0

    def __repr__(self) -> str:
        return f"<Rates {self._requests}, {self._bytes}, {self._pace}>"

    @property
    def bounded(self) -> bool:
        """There is a limit: who asks OSS must be granted it."""
        return self._requests is not None or self._bytes is not None

    @property
    def bounds(self) -> Bounds:
        return Bounds(self._requests.rate if self._requests else 0.0, self._bytes.rate if self._bytes else 0.0)

    def join(self, granted: Callable[[int, int], None], bounded: Callable[[Bounds], None]) -> Party:
        """Another party. It asks for tokens of what its bounds limit, and for nothing else."""
        party = Party(self, granted, bounded)
        self._parties.append(party)
        return party

    def answered(self, good: int, refused: int) -> None:
        """OSS has let so many requests through, whatever came of them, and has refused so many for their rate."""
        self._refused += refused
        now = self._clock()
        self._pace.answered(good, refused, now)
        self._adapt(now)

    def spent(self, size: int) -> None:
        """So many bytes have come that nobody had asked for: they are paid off before more are granted."""
        if self._bytes is not None:
            self._bytes.spend(size)

    async def take(self) -> None:
        """Waits until the control plane may make one request, as demand. Cancelled by the caller's deadline."""
        if self._requests is None:
            return
        waiter = trio.Event()
        self._waiters.append(waiter)
        try:
            self._want_control()
            self._waited += not waiter.is_set()
            while not waiter.is_set():
                with trio.move_on_after(self._pause()):
                    await waiter.wait()
                self.settle()
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._want_control()

    async def run(self) -> None:
        """Grants what is wanted as it falls due, until cancelled."""
        while True:
            if self._wake.is_set():  # several pools may run this
                self._wake = trio.Event()
            with trio.move_on_after(self._pause()) as patience:
                await self._wake.wait()
            if patience.cancelled_caught:
                self.settle()

    def settle(self) -> None:
        """Grants what can be granted now."""
        now = self._clock()
        wants = [party.wants for party in self._parties]
        pressed = any(w.pressed for w in wants)
        demand, ahead = [w.demand_requests for w in wants], [w.ahead_requests for w in wants]
        requests = _grant(self._requests, now, demand, ahead, pressed)
        demand, ahead = [w.demand_bytes for w in wants], [w.ahead_bytes for w in wants]
        size = _grant(self._bytes, now, demand, ahead, pressed)
        for party, mine, bytes_of_mine in zip(list(self._parties), requests, size, strict=True):
            if any(mine) or any(bytes_of_mine):
                self._granted[0] += sum(mine)
                self._granted[1] += sum(bytes_of_mine)
                old = party.wants
                party.wants = Wants(
                    old.demand_requests - mine[0],
                    old.ahead_requests - mine[1],
                    old.demand_bytes - bytes_of_mine[0],
                    old.ahead_bytes - bytes_of_mine[1],
                    old.pressed,
                )
                party.granted(sum(mine), sum(bytes_of_mine))
        self._wake.set()

    def facts(self) -> dict[str, object]:
        """Limits a second (0: none), what is waited for now, and counters since the start."""
        wants = [party.wants for party in self._parties]
        return {
            "limit_requests": 0 if self._most == math.inf else self._most,
            "limit_bandwidth": self._bytes.rate if self._bytes else 0,
            "learned_requests": 0 if self._pace.rate == math.inf else round(self._pace.rate, 1),
            "granted_requests": self._granted[0],
            "granted_bytes": self._granted[1],
            "refused": self._refused,
            "control_waited": self._waited,
            "wanted_requests": sum(w.demand_requests for w in wants),
            "wanted_requests_ahead": sum(w.ahead_requests for w in wants),
            "wanted_bytes": sum(w.demand_bytes for w in wants),
            "wanted_bytes_ahead": sum(w.ahead_bytes for w in wants),
        }

    def _adapt(self, now: float) -> None:
        """Brings the bucket of requests to the pace; parties are told of what changes their reserves by a quarter."""
        rate = min(self._most, self._pace.rate)
        if rate < math.inf:
            if self._requests is None:
                self._requests = Bucket(rate, 1, now)
            self._requests.rate = rate
            self._requests.catch_up = CATCH_UP if rate == self._most else BURST  # OSS refuses what comes all at once
            if 0.75 < rate / self._told < 1.25:  # told of none (inf) this is 0
                return
        elif self._requests is None:
            return
        else:
            self._requests = None
            for party in self._parties:
                party.wants = party.wants._replace(demand_requests=0, ahead_requests=0)
            self._control_granted(len(self._waiters), 0)
        self._told = rate
        for party in self._parties:
            party.bounded(self.bounds)

    def _want_control(self) -> None:
        self._control.want(Wants(demand_requests=len(self._waiters)))

    def _control_granted(self, requests: int, size: int) -> None:
        for _ in range(min(requests, len(self._waiters))):
            self._waiters.popleft().set()

    def _pause(self) -> float:
        """Seconds until something that is wanted can be granted."""
        wants = [party.wants for party in self._parties]
        requests = sum(w.demand_requests + w.ahead_requests for w in wants)
        size = sum(w.demand_bytes + w.ahead_bytes for w in wants)
        pauses = [
            bucket.until(min(wanted, max(1.0, bucket.rate * _TICK)))
            for bucket, wanted in ((self._requests, requests), (self._bytes, size))
            if bucket is not None and wanted
        ]
        return max(_TICK, min(pauses)) if pauses else math.inf


def _grant(bucket: Bucket | None, now: float, demand: list[int], ahead: list[int], pressed: bool) -> list[tuple[int, int]]:
    """What each party gets of a bucket: for demand and ahead of it.

    pressed: readers of some party wait for more than it has, and its next question may be on the way: where the limit binds,
    that is where the bucket is not half full, nothing is given away for what nobody waits for.
    """
    if bucket is None:
        return [(0, 0)] * len(demand)
    there = bucket.refill(now)
    first = divide(there, demand, bucket.turn)
    rest = divide(max(0, there - sum(first) - (bucket.half if pressed else 0)), ahead, bucket.turn)
    served = [index for index in range(len(demand)) if first[index] or rest[index]]
    if served:  # who comes behind the last one is the first the next time
        bucket.turn = 1 + max(served, key=lambda index: (index - bucket.turn) % len(demand))
    bucket.spend(sum(first) + sum(rest))
    bucket.wanted = sum(first) + sum(rest) < sum(demand) + sum(ahead)
    return list(zip(first, rest, strict=True))
