"""One fetch inside a fetch process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ossmount.oss.fetch import wire
from ossmount.oss.fetch.scatter import Scatter

if TYPE_CHECKING:
    from ossmount.oss.fetch.connection import Connection
    from ossmount.oss.fetch.trouble import Trouble


class Job:
    """What was asked for, and how far it is. Owned by the worker; the connection that carries it fills the scatter."""

    __slots__ = (
        "attempts",
        "born",
        "cancelled",
        "connection",
        "crc64",
        "damages",
        "deadline",
        "demand",
        "etag",
        "key",
        "length",
        "number",
        "paid",
        "paused",
        "progress",
        "queued",
        "reported",
        "resigned",
        "rival",
        "scatter",
        "silences",
        "since",
        "size",
        "start",
        "started_at",
        "summed",
        "tries",
        "trouble",
    )

    def __init__(self, message: wire.Message, slab: memoryview) -> None:
        """From a START message. Raises ValueError for targets outside the slab or of another length."""
        _, number, key, etag, size, start, length, targets, demand, progress, deadline, summed = message
        self.number: int = number
        self.key: bytes = key
        self.etag: str = etag
        self.size: int = size  # of the object
        self.start: int = start
        self.length: int = length
        self.scatter = Scatter(slab, targets)
        self.demand: bool = demand
        self.progress: bool = progress and not self.whole  # a whole object is verified before anybody sees a byte of it
        self.deadline: float = deadline
        self.connection: Connection | None = None
        self.rival: Connection | None = None  # carries a second request for it, until one of the two is answered
        self.crc64: int | None = None  # of the whole object, as the first answer said
        self.born = self.since = 0.0  # when it came, and when what it does now began
        self.queued = self.paused = 0.0  # seconds without a connection: before attempts, and between them
        self.tries = 0  # attempts that are over
        self.attempts = 0  # failed ones in a row that brought no byte
        self.cancelled = False
        self.damages = 0
        self.paid = 0  # bytes of the current attempt that are paid for, where bytes are limited
        self.reported = 0  # bytes that the daemon was told of
        self.summed: bool = summed and not self.whole  # its CRC-64 is told to the daemon
        self.resigned = False  # asked for again with OSS's time
        self.silences = 0  # attempts that were given up because nothing came
        self.started_at = 0  # bytes received when the current attempt began
        self.trouble: Trouble | None = None  # of the last failed attempt
        if self.scatter.length != length:
            raise ValueError(f"targets of {self.scatter.length} bytes for a range of {length}")

    @property
    def whole(self) -> bool:
        """All of the object is wanted: the answer's CRC64 can be verified."""
        return self.start == 0 and self.length == self.size

    @property
    def position(self) -> int:
        """Offset in the object of the next byte that is wanted."""
        return self.start + self.scatter.received

    @property
    def missing(self) -> int:
        return self.length - self.scatter.received

    def is_right(self) -> bool | None:
        """Whether the bytes, which are all there, have the CRC-64 of the whole object; None where that is not known."""
        return self.scatter.crc64() == self.crc64 if self.whole and self.crc64 is not None else None

    def leave(self, connection: Connection) -> None:
        """That connection carries it no more; another one may."""
        if connection is self.connection:
            self.connection = self.rival
        self.rival = None

    def restart(self) -> None:
        """Begins again at the first byte."""
        self.scatter.received = 0
        self.reported = 0
        self.crc64 = None
