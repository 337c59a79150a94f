"""A reader over a disk cache with its real processes, over a fetcher that answers out of memory."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from fastcrc import crc64

from ossmount.config import DataConfig, DiskConfig
from ossmount.data.disk.cache import DiskCache
from ossmount.data.disk.keeper import root_of
from ossmount.data.disk.layout import name_of, path_of
from ossmount.data.reader import ObjectReader
from ossmount.data.slab import Slab
from ossmount.errors import OssMountError, Unavailable
from ossmount.model import Version
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest

MIB = 1 << 20
LIMIT = 60.0  # seconds, against hanging only
STORE = "oss.example.com/bucket"


class Instant:
    """Implements Fetcher: every fetch is done before fetch() returns."""

    def __init__(self, slab: Slab) -> None:
        self.slab = slab
        self.objects: dict[Version, bytes] = {}
        self.requests: list[FetchRequest] = []

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        self.requests.append(request)
        assert sum(length for _, length in request.targets) == request.length > 0
        at = request.start
        for offset, length in request.targets:
            self.slab.view[offset : offset + length] = self.objects[request.version][at : at + length]
            at += length
        done(None)
        return len(self.requests)

    def promote(self, number: int) -> None:
        raise AssertionError("nothing is under way")

    def cancel(self, number: int) -> None:
        raise AssertionError("nothing is under way")


class DiskWorld:
    """One mount's data path."""

    def __init__(self, directories: Sequence[Path], memory: int = 64 * MIB, **config: Any) -> None:
        self.slab = Slab(memory)
        self.fetcher = Instant(self.slab)
        self.later = 0.0  # seconds that the cache believes to have passed beside those that have
        self.cache = DiskCache(
            self.fetcher,
            self.slab,
            DiskConfig(tuple(directories), STORE, **{"free_space": 0, "slow_after": 2 * LIMIT, "end_within": LIMIT, **config}),
            clock=lambda: time.monotonic() + self.later,
        )
        self.reader = ObjectReader(self.slab, self.cache, DataConfig(memory, MIB, 4), at_once=self.cache.at_once)
        self.cache.attach(self.reader.hold, self.checksum, self.reader)
        self.directories = directories
        self.asked_checksums = 0
        self.unreachable = False  # nobody answers when a checksum is asked for
        self.checksums: dict[Version, int | None] = {}  # what is answered instead of the true ones

    async def checksum(self, version: Version) -> int | None:
        self.asked_checksums += 1
        await trio.lowlevel.checkpoint()
        if self.unreachable:
            raise Unavailable("nobody answers")
        true: int = crc64.xz(self.fetcher.objects[version])
        return self.checksums.get(version, true)

    def add(self, size: int, name: str = "object") -> Version:
        """An object of pseudo-random bytes that depend on its name and size."""
        version = Version(name.encode(), f"etag of {name}", size)
        self.fetcher.objects[version] = random.Random(f"{name} {size}").randbytes(size)
        return version

    async def read(self, version: Version, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes by way of the cache. What is in memory of the version is forgotten afterwards."""
        finished = trio.Event()
        answers: list[bytes | OssMountError] = []

        def done(result: Sequence[memoryview] | OssMountError) -> None:
            answers.append(result if isinstance(result, OssMountError) else b"".join(result))
            finished.set()

        self.reader.read(version, offset, version.size if size is None else size, done)
        await finished.wait()
        self.reader.forget(version)
        (answer,) = answers
        if isinstance(answer, OssMountError):
            raise answer
        return answer

    async def check(self, version: Version, offset: int = 0, size: int | None = None) -> int:
        """Reads, compares, waits until nothing more is written; the number of requests that it took."""
        before = len(self.fetcher.requests)
        end = version.size if size is None else offset + size
        assert await self.read(version, offset, size) == self.fetcher.objects[version][offset:end]
        await self.written()
        return len(self.fetcher.requests) - before

    async def written(self) -> None:
        await until(lambda: self.facts["writing"] == 0 and self.facts["reading"] == 0, "the disk processes are done")

    @property
    def facts(self) -> dict[str, Any]:
        return self.cache.facts()

    def state(self, directory: Path) -> dict[str, Any]:
        found: dict[str, Any] = self.facts["directories"][str(directory)]
        return found

    def path(self, version: Version, suffix: str) -> Path:
        """Of a file of the cache."""
        return Path(path_of(root_of(str(self.directories[0])), name_of(STORE, version), suffix))


@contextlib.asynccontextmanager
async def running(*worlds: DiskWorld) -> AsyncIterator[None]:
    try:
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                for world in worlds:
                    await nursery.start(_run, world.cache)
                yield
                nursery.cancel_scope.cancel()
    finally:
        for world in worlds:
            world.slab.close()


async def _run(cache: DiskCache, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    await cache.run(task_status.started)


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIMIT:g} s: {what}")
        await trio.sleep(0.005)
