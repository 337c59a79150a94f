"""The daemon's end of the data plane: spreads fetches over the fetch processes and hands out what they report.

Concurrency: everything here runs on the event loop's thread. fetch(), promote() and cancel() only append to a process's
outbox and wake its writer task, so that all fetches of one turn of the loop leave in one send(). For each process one
Slot lives as long as the pool, and one task (Slot.run) that starts the process, again when it ends. A fetch is in
exactly one slot's `pending` until its done is called; done is never called while a process that could still write its
targets lives (a dead or stuck process is killed and waited for first).
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import trio

from ossmount.config import Credentials, FetchConfig, SourceConfig
from ossmount.errors import CredentialsRefused, Unavailable
from ossmount.oss.endpoint import endpoint_of
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.complaints import Complaints
from ossmount.oss.fetch.pending import Pending
from ossmount.oss.fetch.process import FetchProcess
from ossmount.oss.fetch.proxies import proxy_of
from ossmount.oss.fetch.reports import Phases
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.slot import Loan, Slot
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest, SlowWatcher, StoreDone
from ossmount.oss.rates.rates import Rates

#: Seconds between two questions for the credentials.
_RENEW: Final = 1.0
#: Bytes of a request that are paid when it starts, where bytes are limited: an eighth of a second's, within these.
_PREPAID: Final = (32 << 10, 1 << 20)


class FetchPool:
    """A Fetcher over fetch processes that receive into the slab."""

    def __init__(
        self,
        source: SourceConfig,
        config: FetchConfig,
        slab_fd: int,
        slab_size: int,
        *,
        rates: Rates | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """rates: what may be asked of OSS; None: as much as OSS lets through. environment: where the proxy variables and those
        for the processes are looked up, once.

        Raises ValueError, with a message for the user, for an endpoint or a proxy that cannot be used.
        """
        self._rates = rates or Rates()
        count = config.workers or max(1, min(4, len(os.sched_getaffinity(0)) // 2))
        self._connections = max(1, -(-config.connections // count))  # of each
        endpoint = endpoint_of(source)
        settings = WorkerSettings(
            bucket=source.bucket,
            endpoint=(endpoint.host, endpoint.port, endpoint.tls, endpoint.host_header, endpoint.base),
            region=source.region,
            connections=self._connections,
            connect_timeout=source.connect_timeout,
            timeout=source.timeout,
            prepaid=_prepaid(self._rates.bounds.bandwidth),
            verify=config.verify,
            proxy=proxy_of(endpoint, source.proxy, environment),
            slow_after=config.slow_after,
            hedge_above=config.hedge_above,
        )
        self._source = source
        self._timeout = source.timeout
        self._credentials = Credentials()
        self._generation = 0  # how often the credentials have changed
        self._asked = -_RENEW  # when the credentials were
        self._number = 0
        self._where: dict[int, Slot] = {}
        self._closed = False
        self._nursery: trio.Nursery | None = None  # while it runs
        self._held: list[Callable[[], Awaitable[None]]] = []  # what waits for credentials before it runs
        self._missing: CredentialsRefused | None = None  # why there are no credentials at all
        self._loan = Loan()

        complain = Complaints(source.bucket).failed

        def start() -> FetchProcess:
            return FetchProcess(settings, slab_fd, slab_size, environment)

        self._slots = [
            Slot(
                index,
                start,
                self._where,
                self._credentials_message,
                self._newest,
                self._hold,
                self._loan,
                self._rates,
                complain,
            )
            for index in range(count)
        ]

    def __repr__(self) -> str:
        return f"<FetchPool of {len(self._slots)} processes, {len(self._where)} fetches>"

    # ---- Fetcher

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        """Starts a fetch and returns its number. After run() has ended, done is called with Unavailable before it returns.

        No progress is reported of a whole object: its bytes are not to be seen before they are verified.
        """
        self._number = number = self._number + 1
        now = time.monotonic()
        if self._closed:
            done(Unavailable("the fetch processes are shut down"))
            return number
        if now - self._asked >= _RENEW:
            self._renew_credentials(now)
        slot = self._slots[0]
        for other in self._slots:
            if other.load < slot.load:
                slot = other
        self._where[number] = slot
        slot.add(number, Pending(request, done, progress, now + self._timeout, request.demand, self._generation), self._missing)
        return number

    def promote(self, number: int) -> None:
        """A reader waits now for what was readahead: its deadline counts from now."""
        slot = self._where.get(number)
        if slot is not None:
            slot.promote(number, time.monotonic() + self._timeout)

    def cancel(self, number: int) -> None:
        """Nobody waits any more: done is called soon, with Unavailable unless the bytes were nearly there."""
        slot = self._where.get(number)
        if slot is not None:
            slot.cancel(number)

    def allow(self, connections: int) -> None:
        """How many connections all processes together may use from now on; never more than the configuration has.

        What is under way goes on: a process that has more begins nothing new until it has fewer.
        """
        for slot in self._slots:
            slot.allow(max(1, min(self._connections, -(-connections // len(self._slots)))))

    # ---- PageStorer

    def store(self, node: int, size: int, targets: tuple[tuple[int, int], ...], done: StoreDone) -> bool:
        """Pushes a whole file into the kernel's page cache; False while no device is lent."""
        if not self._loan.descriptors or self._closed:
            return False
        self._number = number = self._number + 1
        slot = self._slots[number % len(self._slots)]
        if slot.process is None:
            return False
        slot.store(number, node, size, targets, done)
        return True

    def lend(self, device: int, guard: int) -> None:
        """Takes over a device of the kernel's connection and the guard, which the processes hold as long as they may store."""
        self.revoke()
        self._loan.descriptors = [device, guard]

    def revoke(self) -> None:
        """No more stores: the mount ends. What is being stored ends as soon as the READs in hand are answered or failed."""
        for descriptor in self._loan.descriptors:
            os.close(descriptor)
        self._loan.descriptors = []
        for slot in self._slots:
            slot.revoke()

    # ---- daemon

    async def run(self, started: Callable[[], None]) -> None:
        """Owns the processes until cancelled, then ends them and fails what is not done.

        Calls started once every process answers. Raises RuntimeError when one cannot be started at all.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for held in self._held:
                    nursery.start_soon(held)
                nursery.start_soon(self._rates.run)
                for slot in self._slots:
                    nursery.start_soon(slot.run)
                for slot in self._slots:
                    await slot.ready.wait()
                started()
        finally:
            self._closed = True
            self.revoke()
            for slot in self._slots:
                slot.abandon(Unavailable("the fetch processes are shut down"))

    def watch(self, watcher: SlowWatcher) -> None:
        """Tells of each fetch that takes as long as the configuration says."""
        for slot in self._slots:
            slot.watcher = watcher

    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    def latency(self) -> float | None:
        """Seconds until the first byte of an answer, of the process that has it soonest; None before the first answers."""
        return min((slot.latency for slot in self._slots if slot.latency is not None), default=None)

    def facts(self) -> dict[str, object]:
        """Counters since the start and what is under way."""
        totals: dict[str, object] = {}
        sums: dict[str, int] = {}
        for slot in self._slots:
            for counters in (slot.counters, slot.former_counters):
                for name, value in counters.items():
                    sums[name] = sums.get(name, 0) + value
        totals.update(sums)
        totals["processes"] = len(self._slots)
        totals["pids"] = self.pids()
        totals["restarts"] = sum(slot.restarts for slot in self._slots)
        totals["outstanding"] = len(self._where)
        latency = self.latency()
        totals["latency_ms"] = None if latency is None else round(latency * 1e3, 2)
        phases = Phases()
        for slot in self._slots:
            phases = phases.plus(slot.phases).plus(slot.former_phases)
        return {**totals, **phases.facts()}

    def _credentials_message(self) -> wire.Message:
        self._renew_credentials(time.monotonic(), push=False)
        credentials = self._credentials
        return (wire.CREDENTIALS, credentials.access_key_id, credentials.access_key_secret, credentials.security_token)

    def _newest(self) -> int:
        """The generation of the credentials as they are now; the processes were told of them."""
        self._renew_credentials(time.monotonic())
        return self._generation

    def _hold(self, scope: trio.CancelScope, ended: Callable[[bool], None]) -> None:
        wait = partial(self._wait_for_others, None if self._missing is not None else self._credentials, scope, ended)
        if self._nursery is None:
            self._held.append(wait)  # run() takes it over
        else:
            self._nursery.start_soon(wait)

    async def _wait_for_others(
        self, refused: Credentials | None, scope: trio.CancelScope, ended: Callable[[bool], None]
    ) -> None:
        renewed = False
        with scope:
            renewed = await self._source.renew(refused)
        ended(renewed)

    def _renew_credentials(self, now: float, *, push: bool = True) -> None:
        """Asks for the credentials and tells the processes when they have changed; the last good ones serve on."""
        self._asked = now
        try:
            credentials = self._source.credentials()
        except CredentialsRefused as missing:
            self._missing = missing
            return
        self._missing = None
        if credentials != self._credentials:
            self._credentials = credentials
            self._generation += 1
            if push:
                for slot in self._slots:
                    slot.tell_credentials()


def _prepaid(bandwidth: float) -> int:
    return min(max(int(bandwidth / 8), _PREPAID[0]), _PREPAID[1]) if bandwidth else 0
