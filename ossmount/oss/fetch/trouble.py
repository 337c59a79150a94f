"""What went wrong with one attempt, and whether another attempt makes sense."""

from __future__ import annotations

import enum
from typing import Final

from ossmount.errors import Damaged, DeadlineExceeded, OssMountError, Throttled, Unavailable
from ossmount.oss.answers import failure_of, parse_refusal
from ossmount.oss.clock import REFUSAL
from ossmount.oss.fetch.answer import Head


class Retry(enum.Enum):
    """What the worker does about a trouble, as long as the deadline allows."""

    NEVER = "never"
    AT_ONCE = "at once"  # a kept-alive connection that the server had closed meanwhile: says nothing about the server
    SOON = "soon"  # transport: jittered exponential backoff
    LATER = "later"  # throttled: the same, from a longer delay on
    RESIGNED = "resigned"  # our clock was refused: one more attempt at once, signed with OSS's time
    ONCE = "once"  # damaged: one more attempt from the first byte on


#: What is done about a refusal of OSS. The others are never repeated.
RETRIES: Final[dict[type[OssMountError], Retry]] = {Unavailable: Retry.SOON, Throttled: Retry.LATER}


_COUNTERS: Final[dict[Retry, str]] = {
    Retry.AT_ONCE: "reused_closed",
    Retry.LATER: "throttled",
    Retry.ONCE: "damaged",
    Retry.RESIGNED: "resigned",
}


class Trouble(Exception):
    """One failed attempt: what the fetch fails with if it stays the last, and whether to try again."""

    def __init__(self, failure: type[OssMountError], retry: Retry, text: str, date: str = "") -> None:
        """date: OSS's time, where it refused ours."""
        super().__init__(text)
        self.failure = failure
        self.retry = retry
        self.text = text
        self.date = date

    @property
    def counter(self) -> str:
        """What the fetch process counts it as; "" where it is not counted."""
        return "timeouts" if self.failure is DeadlineExceeded else _COUNTERS.get(self.retry, "")

    def __repr__(self) -> str:
        return f"<Trouble {self.failure.__name__} ({self.retry.value}): {self.text}>"


CANCELLED: Final = Trouble(Unavailable, Retry.NEVER, "cancelled: nobody waits any more")


def transport(text: str) -> Trouble:
    """The network failed: connect errors, resets, truncated bodies."""
    return Trouble(Unavailable, Retry.SOON, text)


def stalled(text: str) -> Trouble:
    """Nothing came for too long."""
    return Trouble(DeadlineExceeded, Retry.SOON, text)


def damaged(text: str) -> Trouble:
    """An answer that cannot be right."""
    return Trouble(Damaged, Retry.ONCE, text)


def overdue(key: bytes, last: Trouble | None, *, held: bool) -> Trouble:
    """What a fetch ends with at its deadline: what its last attempt failed with, where there was one. held: by a limit."""
    if last is not None:
        return Trouble(last.failure, Retry.NEVER, f"{last.text}; no success before the deadline")
    if held:
        return Trouble(DeadlineExceeded, Retry.NEVER, f"GET {key!r}: the limit on requests or bytes held it until the deadline")
    return Trouble(DeadlineExceeded, Retry.NEVER, f"GET {key!r}: no answer before the deadline")


def of_status(head: Head, body: bytes, key: bytes) -> Trouble:
    """The trouble that an answer other than 200 and 206 stands for. 403, 404, 412 and 416 are never repeated."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers.items()}
    refusal = parse_refusal(head.status, headers, body)
    failure = failure_of(refusal, f"GET {key!r}", listed=True)
    if refusal.code == REFUSAL:
        return Trouble(type(failure), Retry.RESIGNED, str(failure), headers.get("date", ""))
    return Trouble(type(failure), RETRIES.get(type(failure), Retry.NEVER), str(failure))
