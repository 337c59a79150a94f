"""A fetcher that does nothing by itself: the test says which fetch gets how far, in which order, and which one fails."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fastcrc import crc64

from ossmount.config import DataConfig
from ossmount.data.integrity import Integrity
from ossmount.data.interface import Outcome
from ossmount.data.reader import ObjectReader
from ossmount.data.slab import Slab
from ossmount.errors import OssMountError, Unavailable
from ossmount.model import Version
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest, StoreDone

KIB, MIB = 1 << 10, 1 << 20


@dataclass
class Fetch:
    """One fetch that is under way."""

    number: int
    request: FetchRequest
    done: FetchDone
    progress: FetchProgress | None
    promoted: bool = False
    cancelled: bool = False
    received: int = 0

    @property
    def range(self) -> tuple[int, int]:
        return self.request.start, self.request.start + self.request.length


class FakeFetcher:
    """Implements Fetcher over objects given as bytes. `pending` holds what is under way, oldest first."""

    def __init__(self, slab: Slab) -> None:
        self.slab = slab
        self.objects: dict[Version, bytes] = {}
        self.pending: list[Fetch] = []
        self.requests: list[FetchRequest] = []  # all there were
        self.told: dict[Version, int | None] = {}  # the CRC-64 that OSS tells, where it is not that of the bytes
        self.fail_at_once: OssMountError | None = None  # answer inside fetch()

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        assert request.length > 0
        assert sum(length for _, length in request.targets) == request.length
        assert request.start + request.length <= request.version.size
        self.requests.append(request)
        number = len(self.requests)
        if self.fail_at_once is not None:
            done(self.fail_at_once)
            return number
        self.pending.append(Fetch(number, request, done, progress))
        self.check_targets()
        for offset, length in request.targets:
            self.slab.view[offset : offset + length] = b"\xee" * length  # whoever reads it before it came is found out
        return number

    def promote(self, number: int) -> None:
        self.find(number).promoted = True

    def cancel(self, number: int) -> None:
        fetch = self.find(number)
        assert not fetch.request.demand and not fetch.promoted, "a reader waits for it"
        fetch.cancelled = True

    def find(self, number: int) -> Fetch:
        (fetch,) = [fetch for fetch in self.pending if fetch.number == number]
        return fetch

    def check_targets(self) -> None:
        """No two fetches under way may write to the same memory."""
        targets = sorted(target for fetch in self.pending for target in fetch.request.targets)
        for (start, length), (following, _) in itertools.pairwise(targets):
            assert start + length <= following
        assert not targets or sum(targets[-1]) <= self.slab.size

    def receive(self, fetch: Fetch, size: int, tell: bool = True) -> None:
        """`size` more bytes arrive."""
        start, data = fetch.request.start, self.objects[fetch.request.version]
        goal = min(fetch.received + size, fetch.request.length)
        at = 0
        for offset, length in fetch.request.targets:
            first, last = max(at, fetch.received), min(at + length, goal)
            if first < last:
                self.slab.view[offset + first - at : offset + last - at] = data[start + first : start + last]
            at += length
        fetch.received = goal
        if tell and fetch.progress is not None:
            fetch.progress(goal)

    def complete(self, fetch: Fetch | None = None) -> None:
        """All bytes of the fetch (else: of the oldest) arrive, and it is done."""
        fetch = fetch or self.pending[0]
        self.receive(fetch, fetch.request.length, tell=False)
        self.pending.remove(fetch)
        fetch.done(self.verdict(fetch.request))

    def verdict(self, request: FetchRequest) -> OssMountError | None:
        """What comes of comparing checksums, where it was asked for."""
        if request.summed is None:
            return None
        start, data = request.start, self.objects[request.version]
        told = self.told.get(request.version, crc64.xz(data))
        return request.summed(crc64.xz(data[start : start + request.length]), told)

    def complete_all(self) -> None:
        """Completes what is under way until nothing is."""
        while self.pending:
            self.complete()

    def fail(self, error: OssMountError, fetch: Fetch | None = None) -> None:
        fetch = fetch or self.pending[0]
        self.pending.remove(fetch)
        fetch.done(error)

    def end_cancelled(self) -> None:
        """What was cancelled ends."""
        while gone := [fetch for fetch in self.pending if fetch.cancelled]:
            self.fail(Unavailable("cancelled"), gone[0])

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [fetch.range for fetch in self.pending]


@dataclass
class Store:
    """One file on its way into the kernel's page cache."""

    node: int
    data: bytes
    done: StoreDone


class FakeKernel:
    """Implements PageStorer; copies what it is given. `pending` holds what is being stored, oldest first."""

    def __init__(self, slab: Slab) -> None:
        self.slab = slab
        self.present = True
        self.pending: list[Store] = []

    def store(self, node: int, size: int, targets: tuple[tuple[int, int], ...], done: StoreDone) -> bool:
        if not self.present:
            return False
        data = b"".join(bytes(self.slab.view[offset : offset + length]) for offset, length in targets)
        assert len(data) == size
        self.pending.append(Store(node, data, done))
        return True

    def end(self, code: int = 0) -> Store:
        """The oldest store has ended."""
        store = self.pending.pop(0)
        store.done(code)
        return store


class Answer:
    """A ReadDone that copies what it is given."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.error: OssMountError | None = None

    def __call__(self, result: Sequence[memoryview] | OssMountError) -> None:
        assert self.data is None and self.error is None, "answered twice"
        if isinstance(result, OssMountError):
            self.error = result
        else:
            self.data = b"".join(result)

    @property
    def waiting(self) -> bool:
        return self.data is None and self.error is None


class World:
    """A reader over a fake fetcher, with a clock that the test sets. A context manager."""

    def __init__(
        self,
        memory: int = 16 * MIB,
        *,
        readahead_size: int = MIB,
        readahead_count: int = 4,
        verify: int = 0,
        timeout: float = 60.0,
    ) -> None:
        """verify: one of so many larger objects is compared with its checksum; 0: none."""
        self.now = 1000.0
        self.slab = Slab(memory)
        self.fetcher = FakeFetcher(self.slab)
        config = DataConfig(memory, readahead_size, readahead_count, timeout)
        self.kernel = FakeKernel(self.slab)
        self.damaged: list[tuple[Version, OssMountError]] = []
        self.integrity = Integrity(self.fetcher, verify) if verify else None
        self.reader = ObjectReader(
            self.slab,
            self.integrity or self.fetcher,
            config,
            clock=lambda: self.now,
            storer=self.kernel,
            damaged=lambda version, error: self.damaged.append((version, error)),
        )

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.slab.close()

    def add(self, size: int, name: str = "object", etag: str = "1") -> Version:
        """An object of pseudo-random bytes that depend on its name and etag."""
        version = Version(name.encode(), etag, size)
        self.fetcher.objects[version] = random.Random(f"{name} {etag}").randbytes(size)
        return version

    def data(self, version: Version, offset: int, size: int) -> bytes:
        return self.fetcher.objects[version][offset : offset + size]

    def prefetch(self, version: Version, node: int = 0) -> list[Outcome] | None:
        """What becomes of it is added to the list; None: there was no room."""
        outcomes: list[Outcome] = []
        return outcomes if self.reader.prefetch(version, node, outcomes.append) else None

    def read(self, version: Version, offset: int, size: int) -> Answer:
        answer = Answer()
        self.reader.read(version, offset, size, answer)
        return answer

    def read_through(self, version: Version, offset: int, size: int) -> bytes:
        """A read with all that it takes completed."""
        answer = self.read(version, offset, size)
        while answer.waiting:
            self.fetcher.complete()
        assert answer.data is not None
        return answer.data
