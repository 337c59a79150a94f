"""Where the time of fetches goes, in a fetch process: waiting for a connection, on the network, or between two attempts."""

from __future__ import annotations

from ossmount.durations import Durations
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.job import Job


class Phases:
    """Of all jobs of the process. `now` is the time at which the poller returned."""

    def __init__(self, slow_after: float) -> None:
        """slow_after: seconds from which the daemon is told of each job by itself."""
        self._slow_after = slow_after
        self._first_byte = Durations()
        self._attempts = Durations()
        self._queued = 0.0
        self._paused = 0.0
        self.untold = False

    def arrived(self, job: Job, now: float) -> None:
        job.born = job.since = now

    def begun(self, job: Job, now: float) -> None:
        """The job has a connection."""
        waited = max(0.0, now - job.since)
        job.queued += waited
        job.since = now
        self._queued += waited

    def answering(self, seconds: float) -> None:
        self._first_byte.add(seconds)
        self.untold = True

    def attempted(self, job: Job, now: float) -> None:
        """An attempt is over."""
        job.since, began = now, job.since
        job.tries += 1
        self._attempts.add(now - began)
        self.untold = True

    def paused(self, job: Job, now: float, pause: float) -> None:
        """The next attempt begins after a pause."""
        job.since = now + pause
        job.paused += pause
        self._paused += pause

    def hurried(self, job: Job, now: float) -> None:
        """The rest of the pause is left out."""
        left = max(0.0, job.since - now)
        job.since -= left
        job.paused -= left
        self._paused -= left

    def slow(self, job: Job, now: float) -> list[wire.Message]:
        """What the daemon is told of a job that ends now."""
        if now - job.born < self._slow_after:
            return []
        queued = job.queued if job.tries or job.connection is not None else now - job.born
        return [(wire.SLOW, job.number, now - job.born, queued, job.paused, job.tries)]

    @property
    def first_bytes(self) -> list[int]:
        """The running histogram of the seconds until first bytes."""
        return self._first_byte.buckets

    def message(self) -> wire.Message:
        self.untold = False
        return (wire.PHASES, self._first_byte.facts(), self._attempts.facts(), self._queued, self._paused)
