"""Which job is next: demand before readahead, in order of arrival; failed ones come back when their delay is over."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from ossmount.oss.fetch.job import Job


class JobQueue:
    """The jobs that are on no connection. Every operation but expire() costs a constant or logarithmic time."""

    def __init__(self) -> None:
        # OrderedDict, since taking the first item of a dict is linear in the items that were taken before
        self._demand: OrderedDict[int, Job] = OrderedDict()
        self._readahead: OrderedDict[int, Job] = OrderedDict()
        self._delayed: dict[int, Job] = {}
        self._times: list[tuple[float, int]] = []  # heap of (when, number); numbers that are not delayed any more stay in it

    def __len__(self) -> int:
        return len(self._demand) + len(self._readahead) + len(self._delayed)

    def __iter__(self) -> Iterator[Job]:
        yield from self._demand.values()
        yield from self._readahead.values()
        yield from self._delayed.values()

    def add(self, job: Job) -> None:
        (self._demand if job.demand else self._readahead)[job.number] = job

    def delay(self, job: Job, until: float) -> None:
        """Keeps a job back until that time."""
        self._delayed[job.number] = job
        heapq.heappush(self._times, (until, job.number))

    def due(self, now: float) -> None:
        """Moves the jobs whose delay is over to their queues."""
        while self._times and self._times[0][0] <= now:
            _, number = heapq.heappop(self._times)
            job = self._delayed.pop(number, None)
            if job is not None:
                self.add(job)

    def next_due(self) -> float | None:
        """When the next delay ends (or a little earlier)."""
        return self._times[0][0] if self._times else None

    def waiting(self, most: int, prepaid: int) -> tuple[int, int, int, int]:
        """Of the first `most` jobs that could start now: how many readers wait for and how many not, and the bytes of both
        that starting them costs, each at most `prepaid`.
        """
        demand = list(islice(self._demand.values(), most))
        ahead = list(islice(self._readahead.values(), most - len(demand)))
        sizes = [sum([min(job.missing, prepaid) for job in jobs]) for jobs in (demand, ahead)]
        return len(demand), len(ahead), sizes[0], sizes[1]

    @property
    def demands(self) -> bool:
        """The next job is one that a reader waits for."""
        return bool(self._demand)

    def take(self, *, readahead: bool) -> Job | None:
        """The next job; without readahead only one that a reader waits for."""
        if self._demand:
            return self._demand.popitem(last=False)[1]
        if readahead and self._readahead:
            return self._readahead.popitem(last=False)[1]
        return None

    def put_back(self, job: Job) -> None:
        """Undoes take()."""
        queue = self._demand if job.demand else self._readahead
        queue[job.number] = job
        queue.move_to_end(job.number, last=False)

    def promote(self, number: int) -> None:
        """Moves a readahead that waits for a connection, or for the end of its delay, to the end of demand."""
        job = self._readahead.pop(number, None) or self._delayed.pop(number, None)
        if job is not None:
            self._demand[number] = job

    def remove(self, number: int) -> Job | None:
        """Takes a job out wherever it stands."""
        for queue in (self._demand, self._readahead, self._delayed):
            job = queue.pop(number, None)
            if job is not None:
                return job
        return None

    def expire(self, now: float) -> list[Job]:
        """Takes out the jobs whose deadline has passed."""
        expired = [job for job in self if job.deadline <= now]
        for job in expired:
            self.remove(job.number)
        return expired
