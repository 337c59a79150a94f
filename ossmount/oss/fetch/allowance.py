"""What a fetch process may ask of OSS while there is a limit: tokens that the daemon grants (ossmount.oss.rates).

A request takes one token when it starts. Bytes are paid when they are received, but for the first of each request, which
are paid when it starts: they come whether the process receives them or not, as they fit into the socket. So a small object
costs its bytes before they are on their way, and of a large range no more is ever under way than was paid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from ossmount.oss.fetch.connection import Connection
from ossmount.oss.fetch.job import Job

#: Seconds of tokens that are held at most: what the way to the daemon and back takes on a busy machine.
_RESERVE: Final = 0.05
#: Seconds of tokens that are asked for when anything is wanted: a limit that does not bind shall not cost round trips.
_FILL: Final = 0.02

#: The fields of ossmount.oss.rates.rates.Wants, which is not imported here for what it imports.
Lack = tuple[int, int, int, int, bool]
NOTHING: Final[Lack] = (0, 0, 0, 0, False)


class Allowance:
    """Tokens that were granted and are not used. Without a limit everything is allowed and nothing is counted."""

    def __init__(self, prepaid: int) -> None:
        """prepaid: bytes of each request that are paid when it starts."""
        self._prepaid = prepaid
        self._rates = (0.0, 0.0)  # requests and bytes a second; 0: not limited
        self._requests = 0
        self._bytes = 0  # below 0: received before it was granted
        self._spare = 0  # of the bytes, those that no reader waits for
        self.bounded = False
        self.seen = (0, 0)  # all requests and bytes that were ever granted

    def __repr__(self) -> str:
        return f"<Allowance of {self._requests} requests and {self._bytes} bytes, limits {self._rates}>"

    def bound(self, requests: float, bandwidth: float) -> None:
        """Sets what is limited, to how much a second; 0: not at all."""
        if bool(requests) != bool(self._rates[0]):
            self._requests = 0
        self._rates = (requests, bandwidth)
        self.bounded = requests > 0 or bandwidth > 0

    def grant(self, requests: int, size: int) -> None:
        self.seen = (self.seen[0] + requests, self.seen[1] + size)
        self._requests += requests if self._rates[0] else 0
        self._bytes += size

    def may_start(self, *, demand: bool) -> bool:
        """Whether a request may start now."""
        requests, bandwidth = self._rates
        if requests and self._requests < 1:
            return False
        return not bandwidth or (self._bytes > 0 and (demand or self._spare > 0))

    def started(self, job: Job) -> None:
        """A request of the job goes out."""
        if self._rates[0]:
            self._requests -= 1
        job.paid = 0
        if self._rates[1]:
            job.paid = min(job.missing, self._prepaid)
            self._bytes -= job.paid

    def repeated(self, job: Job) -> None:
        """A second request of the job goes out beside the first."""
        if self._rates[0]:
            self._requests -= 1
        if self._rates[1]:
            self._bytes -= min(job.missing, self._prepaid)

    def charge(self, job: Job) -> None:
        """Pays what the job has received beyond what was paid."""
        received = job.scatter.received - job.started_at
        if self._rates[1] and received > job.paid:
            self._bytes -= received - job.paid
            job.paid = received

    def balance(self, connections: Iterable[Connection], waiting: tuple[int, int, int, int], now: float) -> Lack:
        """Lets those connections receive that may, demand before the rest; what is lacking.

        waiting: of the jobs that could start now the number for demand and ahead, and the bytes of both.
        """
        demand_jobs, ahead_jobs, demand_bytes, ahead_bytes = waiting
        if self._rates[1]:
            reading = [
                (connection, job)
                for connection in connections
                if (job := connection.job) is not None and job.connection is connection
            ]
            for _, job in reading:
                self.charge(job)
                unpaid = job.missing - max(0, job.paid - (job.scatter.received - job.started_at))
                if job.demand:
                    demand_bytes += unpaid
                else:
                    ahead_bytes += unpaid
            self._spare = self._bytes - demand_bytes
            for connection, job in reading:
                prepaid = job.scatter.received - job.started_at < job.paid
                connection.pause(not (prepaid or (self._bytes if job.demand else self._spare) > 0), now)
        return (
            *_lack(self._requests, self._rates[0], 1, demand_jobs, ahead_jobs),
            *_lack(self._bytes, self._rates[1], self._prepaid, demand_bytes, ahead_bytes),
            bool(self._rates[0] and demand_jobs > self._requests) or bool(self._rates[1] and demand_bytes > self._bytes),
        )


def _lack(held: int, rate: float, least: int, demand: int, ahead: int) -> tuple[int, int]:
    """Tokens to ask for, for demand and ahead; none while half of the reserve is there. least: the smallest reserve."""
    reserve = max(least, math.ceil(rate * _RESERVE))
    if not rate or not demand + ahead or 2 * held > reserve:
        return (0, 0)
    first = max(0, min(demand, reserve) - held)
    return first, max(0, min(max(demand + ahead, int(rate * _FILL)), reserve) - held) - first
