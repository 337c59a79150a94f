"""What the daemon and a fetch process say to each other: frames of a 4-byte length and a marshalled list of messages.

Both ends are the same interpreter and trust each other, so marshal serves: it packs a batch of requests in C, at about
1 microsecond for each. A message is a tuple whose first item is its kind.

daemon to process:
    (CONFIGURE, settings: dict)                    first of all, once
    (CREDENTIALS, id, secret, token)               before the first START, and when they change
    (START, number, key, etag, size, start, length, targets, demand, progress, deadline, summed)
    (PROMOTE, number, deadline)
    (CANCEL, number)
    (LEND,)                                        with a device and a guard (SCM_RIGHTS), in a frame of its own
    (REVOKE,)                                      close them
    (CONNECTIONS, number)                          so many may be used from now on, at most those of the settings
    (BOUNDS, requests, bandwidth)                  what is limited from now on, to how much a second; 0: not at all
    (GRANT, requests, bytes)                       that may be asked for now, beside what was granted before
    (STORE, number, node, size, targets)           push a whole file into the kernel's page cache
process to daemon:
    (READY,)                                       once, after CONFIGURE
    (DONE, number, failure, text)                  failure: a name of FAILURES, "" for success
    (SUMMED, number, crc, whole)                   before DONE, of a range that is wanted with its CRC-64; whole: the object's,
                                                   None where OSS tells none
    (PROGRESS, number, bytes)
    (STORED, number, errno)                        0: done
    (LATENCY, seconds)                             until the first byte of an answer, now and then
    (WANT, requests, bytes, *rates.Wants)          all that was granted so far, and what is lacking now
    (PHASES, first byte, attempts, queued, paused) running totals: two histograms as Durations.facts() gives them, seconds
    (SLOW, number, seconds, queued, paused, tries)  in front of DONE, of a fetch that took as long as the settings say
    (COUNTERS, {name: int})                        running totals, in front of every batch and while it works
Deadlines are CLOCK_MONOTONIC seconds, which all processes of a machine share.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any, Final, TypeAlias

from ossmount import errors

Message: TypeAlias = tuple[Any, ...]

CONFIGURE: Final = 0
CREDENTIALS: Final = 1
START: Final = 2
PROMOTE: Final = 3
CANCEL: Final = 4
READY: Final = 5
DONE: Final = 6
PROGRESS: Final = 7
COUNTERS: Final = 8
LEND: Final = 9
REVOKE: Final = 10
STORE: Final = 11
STORED: Final = 12
LATENCY: Final = 13
BOUNDS: Final = 14
GRANT: Final = 15
WANT: Final = 16
CONNECTIONS: Final = 17
PHASES: Final = 18
SLOW: Final = 19
SUMMED: Final = 20

#: What COUNTERS counts.
COUNTED: Final = (
    "requests",
    "bytes",
    "connections",
    "answered",
    "retries",
    "throttled",
    "timeouts",
    "damaged",  # answers that could not be right
    "reused_closed",
    "resigned",
    "hedged",  # requests that were made a second time
    "hedges_won",  # of which the second one was answered first
    "verified",  # whole objects whose CRC-64 was compared
    "unverified",  # whole objects without CRC-64, and all of them with --verify off
)

#: The failures that a fetch can end in, by the name that DONE carries.
FAILURES: Final[dict[str, type[errors.OssMountError]]] = {
    name: failure
    for name, failure in vars(errors).items()
    if isinstance(failure, type) and issubclass(failure, errors.OssMountError)
}

_LENGTH = struct.Struct("<I")


def pack(messages: list[Message]) -> bytes:
    """One frame."""
    body = marshal.dumps(messages)
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Puts frames together again from whatever pieces the socket gives."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now, in order."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        messages: list[Message] = []
        while end - at >= 4:
            after = at + 4 + _LENGTH.unpack_from(data, at)[0]
            if after > end:
                break
            messages += marshal.loads(memoryview(data)[at + 4 : after])
            at = after
        self._rest = data[at:]
        return messages
