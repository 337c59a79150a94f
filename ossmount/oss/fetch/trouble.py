"""What went wrong with one attempt, and whether another attempt makes sense."""

from __future__ import annotations

import enum
import re
from typing import Final

from ossmount.errors import (
    Archived,
    Changed,
    Damaged,
    DeadlineExceeded,
    Denied,
    OssMountError,
    Throttled,
    Unavailable,
)
from ossmount.oss.fetch.answer import Head

#: Codes of OSS that ask for fewer requests (OSS documentation, "503 status code").
THROTTLING: Final = frozenset(
    [
        "DownloadTrafficRateLimitExceeded",
        "QpsLimitExceeded",
        "RequestRateLimitExceeded",
        "SlowDown",
        "TotalQpsLimitExceeded",
        "TrafficRateLimitExceeded",
    ]
)
_CODE = re.compile(rb"<Code>([A-Za-z0-9._-]{1,64})</Code>")


class Retry(enum.Enum):
    """What the worker does about a trouble, as long as the deadline allows."""

    NEVER = "never"
    AT_ONCE = "at once"  # a kept-alive connection that the server had closed meanwhile: says nothing about the server
    SOON = "soon"  # transport: jittered exponential backoff
    LATER = "later"  # throttled: the same, from a longer delay on
    ONCE = "once"  # damaged: one more attempt from the first byte on


class Trouble(Exception):
    """One failed attempt: what the fetch fails with if it stays the last, and whether to try again."""

    def __init__(self, failure: type[OssMountError], retry: Retry, text: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.retry = retry
        self.text = text

    def __repr__(self) -> str:
        return f"<Trouble {self.failure.__name__} ({self.retry.value}): {self.text}>"


def transport(text: str) -> Trouble:
    """The network failed: connect errors, resets, truncated bodies."""
    return Trouble(Unavailable, Retry.SOON, text)


def stalled(text: str) -> Trouble:
    """Nothing came for too long."""
    return Trouble(DeadlineExceeded, Retry.SOON, text)


def damaged(text: str) -> Trouble:
    """An answer that cannot be right."""
    return Trouble(Damaged, Retry.ONCE, text)


def error_code(body: bytes) -> str:
    """The Code of an OSS error answer (XML); "" where there is none."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def of_status(head: Head, body: bytes) -> Trouble:
    """The trouble that an answer other than 200 and 206 stands for.

    Codes: OSS documentation, "Error codes". 403, 404, 412 and 416 are never repeated.
    """
    code = error_code(body)
    request_id = head.headers.get(b"x-oss-request-id", b"").decode("ascii", "replace")
    text = f"OSS answered {head.status}{' ' + code if code else ''}{f' (request {request_id})' if request_id.isalnum() else ''}"
    status = head.status
    if status == 403 and code == "InvalidObjectState":
        return Trouble(Archived, Retry.NEVER, f"{text}: the object is archived and must be restored first")
    if code in THROTTLING or status == 429:
        return Trouble(Throttled, Retry.LATER, text)
    if status in (401, 403):
        return Trouble(Denied, Retry.NEVER, text)
    if status in (404, 412, 416) and code != "NoSuchBucket":
        return Trouble(Changed, Retry.NEVER, f"{text}: the object is no longer the version that was listed")
    if status == 503:
        return Trouble(Throttled, Retry.LATER, text)
    if status >= 500 or status == 408:
        return transport(text)
    if 300 <= status < 400:
        return Trouble(Unavailable, Retry.NEVER, f"{text}: redirects are refused, check --endpoint")
    return Trouble(Unavailable, Retry.NEVER, text)
