"""What the disk cache has in hand: fetches that are not done, and pages that are being written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ossmount.data.disk.places import Place
from ossmount.errors import OssMountError
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest


@dataclass(slots=True, eq=False)
class Fetch:
    """A fetch that is not done."""

    request: FetchRequest
    done: FetchDone
    progress: FetchProgress | None
    place: Place | None
    name: bytes
    demand: bool
    since: float
    cancelled: bool = False
    error: OssMountError | None = None
    parts: dict[int, int] = field(default_factory=dict)  # at OSS: number of each part, 0 before it is started


@dataclass(slots=True)
class Write:
    """Pages that are held until they are written."""

    name: bytes
    size: int  # bytes of the object
    release: Callable[[], None]
    length: int
    place: Place
    since: float
