"""Faults that a test injects: what goes wrong, for which requests, how often."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from ossmount.emulator.errors import OssError

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and for which requests. Delays are seconds, offsets count bytes of the body that is sent.

    Which: `keys` is a shell pattern on the key (of a listing: on its prefix), bytes that are not UTF-8 as surrogates;
    `operations` are kinds (GET, HEAD, LIST, PUT, DELETE, POST, BUCKET) or names of calls (GetObject, ListObjectsV2, …),
    none for all; of the requests that match, `skip` are let through first, then `rate` and `probability` decide, and after
    `count` hits the fault rests.
    """

    keys: str = "*"
    operations: tuple[str, ...] = ()
    bucket: str = "*"
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    rate: float = 0.0  # so many requests a second meet no fault, and a tenth of that may come at once; 0: none

    latency: float = 0.0  # before the request is looked at
    first_byte_delay: float = 0.0  # between the headers and the body
    bandwidth: float = 0.0  # bytes per second of this body; 0: no limit
    code: str = ""  # an error answer: QpsLimitExceeded, InternalError, SecurityTokenExpired, …
    status: int = 0  # of the error answer, where it is not the code's own
    reset: bool = False  # RST instead of an answer
    reset_after: int | None = None  # RST behind so many bytes of the body
    truncate_after: int | None = None  # the connection is closed properly there, though Content-Length promised more
    corrupt_at: int | None = None  # one byte is another one; checksums in the headers stay as they were
    hang: bool = False  # no answer, the connection stays open
    hang_after: int | None = None  # nothing more behind so many bytes of the body
    flip_at: int | None = None  # this byte of the object is another one, in whichever range it is sent
    body: bytes | None = None  # the object's bytes are said to be these, cut as the range is; headers stay as they were
    crc64: int | None = None  # x-oss-hash-crc64ecma is said to be this
    no_crc64: bool = False  # and here it is missing
    longer: int = 0  # Content-Length is so many bytes more than the body has (fewer: the body is cut there as well)
    range_shift: int = 0  # Content-Range names bytes so many further on than those that are sent
    etag: str = ""  # the object's ETag is said to be this one, for If-Match too
    ignore_conditions: bool = False  # If-Match and its like are not looked at

    @property
    def error(self) -> OssError | None:
        if not self.code and not self.status:
            return None
        return OssError(self.code or "InternalError", status=self.status)


@dataclass
class Injection:
    """A fault that was added, and how often it has met a request."""

    fault: Fault
    matched: int = field(default=0)
    hits: int = field(default=0)

    def __post_init__(self) -> None:
        self._since = time.monotonic()
        self._spared = self._most  # requests that the rate has room for

    @property
    def _most(self) -> float:
        return max(1.0, self.fault.rate / 10)

    def spares(self) -> bool:
        """The rate lets this request through."""
        now = time.monotonic()
        self._spared = min(self._most, self._spared + (now - self._since) * self.fault.rate)
        self._since = now
        if self._spared < 1.0:
            return False
        self._spared -= 1.0
        return True


class Faults:
    """The faults in force, the oldest first. Safe on any thread."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._injections: list[Injection] = []

    def add(self, fault: Fault) -> Injection:
        injection = Injection(fault)
        with self._lock:
            self._injections.append(injection)
        return injection

    def remove(self, injection: Injection) -> None:
        """Ends one fault; nothing happens when it has been removed before."""
        with self._lock:
            self._injections = [known for known in self._injections if known is not injection]

    def clear(self) -> None:
        with self._lock:
            self._injections = []

    def seed(self, seed: int) -> None:
        with self._lock:
            self._random = random.Random(seed)

    def choose(self, kind: str, operation: str, bucket: str, key: bytes) -> Plan:
        """The faults that this request meets."""
        if not self._injections:
            return NO_FAULTS
        name = key.decode("utf-8", "surrogateescape")
        with self._lock:
            return Plan(
                tuple(
                    injection.fault
                    for injection in self._injections
                    if _matches(injection.fault, kind, operation, bucket, name) and self._strikes(injection)
                )
            )

    def _strikes(self, injection: Injection) -> bool:
        fault = injection.fault
        injection.matched += 1
        if injection.matched <= fault.skip or (fault.count is not None and injection.hits >= fault.count):
            return False
        if fault.rate and injection.spares():
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        injection.hits += 1
        return True


def _matches(fault: Fault, kind: str, operation: str, bucket: str, key: str) -> bool:
    return (
        (not fault.operations or kind in fault.operations or operation in fault.operations)
        and fnmatchcase(bucket, fault.bucket)
        and fnmatchcase(key, fault.keys)
    )


class Plan:
    """All faults of one request. Where two say different things, the older one counts; latencies add up."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.latency = sum(fault.latency for fault in faults)
        self.first_byte_delay = sum(fault.first_byte_delay for fault in faults)
        self.bandwidth = min((fault.bandwidth for fault in faults if fault.bandwidth), default=0.0)
        self.error = _first(faults, lambda fault: fault.error)
        self.reset = any(fault.reset for fault in faults)
        self.hang = any(fault.hang for fault in faults)
        self.reset_after = _first(faults, lambda fault: fault.reset_after)
        self.truncate_after = _first(faults, lambda fault: fault.truncate_after)
        self.hang_after = _first(faults, lambda fault: fault.hang_after)
        self.corrupt_at = _first(faults, lambda fault: fault.corrupt_at)
        self.flip_at = _first(faults, lambda fault: fault.flip_at)
        self.body = _first(faults, lambda fault: fault.body)
        self.crc64 = _first(faults, lambda fault: fault.crc64)
        self.no_crc64 = any(fault.no_crc64 for fault in faults)
        self.longer = _first(faults, lambda fault: fault.longer or None) or 0
        self.range_shift = _first(faults, lambda fault: fault.range_shift or None) or 0
        self.etag = _first(faults, lambda fault: fault.etag or None) or ""
        self.ignore_conditions = any(fault.ignore_conditions for fault in faults)

    @property
    def ends_at(self) -> int | None:
        """How many bytes of the body are sent; None for all."""
        offsets = (self.reset_after, self.truncate_after, self.hang_after)
        return min((offset for offset in offsets if offset is not None), default=None)


def _first(faults: tuple[Fault, ...], value: Callable[[Fault], T | None]) -> T | None:
    return next((found for fault in faults if (found := value(fault)) is not None), None)


NO_FAULTS = Plan(())
