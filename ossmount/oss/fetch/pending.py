"""A fetch that is not done, as the daemon keeps it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import trio

from ossmount.errors import OssMountError
from ossmount.oss.fetch import wire
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest


@dataclass(slots=True)
class Pending:
    """A fetch that is not done."""

    request: FetchRequest
    done: FetchDone
    progress: FetchProgress | None
    deadline: float
    demand: bool
    generation: int  # of the credentials when it was started
    repeats: int = 0
    denied: bool = False  # at least once
    waiting: trio.CancelScope | None = None  # no process has it: it waits for other credentials
    cancelled: bool = False
    ended: bool = False  # done was called
    verdict: OssMountError | None = None  # of whoever compares the checksums of ranges


def on_trios_clock(deadline: float) -> float:
    """A time of time.monotonic()."""
    return trio.current_time() + deadline - time.monotonic()


def start_message(number: int, pending: Pending) -> wire.Message:
    version, start, length, targets, _, summed = pending.request
    key, etag, size = version
    wants = pending.progress is not None, pending.deadline, summed is not None
    return (wire.START, number, key, etag, size, start, length, targets, pending.demand, *wants)
