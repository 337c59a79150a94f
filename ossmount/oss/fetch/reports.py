"""What a fetch process reports of its jobs, in the daemon."""

from __future__ import annotations

from typing import Any, NamedTuple

from ossmount.durations import as_facts, merged


class Phases(NamedTuple):
    """Running totals of one process: see ossmount.oss.fetch.phases."""

    first_byte: dict[str, Any] = as_facts((), 0.0)
    attempts: dict[str, Any] = as_facts((), 0.0)
    queued: float = 0.0  # seconds that fetches waited for a connection
    paused: float = 0.0  # seconds between an attempt that failed and the next one

    def plus(self, other: Phases) -> Phases:
        return Phases(
            merged([self.first_byte, other.first_byte]),
            merged([self.attempts, other.attempts]),
            self.queued + other.queued,
            self.paused + other.paused,
        )

    def facts(self) -> dict[str, object]:
        """Seconds; durations as ossmount.durations has them."""
        return {
            "durations": {"first_byte": self.first_byte, "get": self.attempts},
            "waited": {"queue": round(self.queued, 3), "retry": round(self.paused, 3)},
        }
