"""The end of a mount that speaks to OSS: one bucket, a list of its keys, or the keys of a list in several buckets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ossmount.channel.interface import Borrower
from ossmount.config import FetchConfig, SourceConfig
from ossmount.daemon.components import Component
from ossmount.daemon.failures import refusal
from ossmount.data.slab import Slab
from ossmount.errors import OssMountError
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata.manifest import Manifest, ManifestLister, digest
from ossmount.model import ObjectInfo
from ossmount.oss.buckets import Bucket
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import Fetcher, ObjectLister, PageStorer, SlowWatcher
from ossmount.oss.rates.rates import Rates
from ossmount.oss.several import SeveralBuckets, SeveralPools, merged, sources_of


class DataPlane(Component, Fetcher, PageStorer, Borrower, Protocol):
    """What receives bodies."""

    def pids(self) -> list[int]:
        """Of its processes."""
        ...

    def latency(self) -> float | None:
        """Seconds until the first byte; None while unknown."""
        ...

    def allow(self, connections: int) -> None:
        """How many connections may be used from now on."""
        ...

    def watch(self, watcher: SlowWatcher) -> None:
        """Tells of slow fetches from now on."""
        ...

    def facts(self) -> dict[str, object]: ...


class Remote(NamedTuple):
    """Made, and not asked for anything yet."""

    lister: ObjectLister  # of what the mount shows
    head: Callable[[bytes], Awaitable[ObjectInfo]]
    pool: DataPlane
    check: Callable[[], Awaitable[None]]  # raises CommandError
    facts: Callable[[], dict[str, object]]  # of the control plane
    shown: str  # what tells the metadata of this mount from that of the whole bucket; "" for the whole bucket

    def requests(self) -> dict[str, int]:
        """Requests made to OSS, each attempt counted: those of the control plane by kind, and get for those of file data."""
        control, data = self.facts()["requests"], self.pool.facts().get("requests", 0)
        assert isinstance(control, dict) and isinstance(data, int)
        return {"list": 0, "head": 0, **{kind.lower(): number for kind, number in control.items()}, "get": data}


def connect(source: SourceConfig, fetch: FetchConfig, slab: Slab, listed: Manifest | None, rates: Rates) -> Remote:
    """`listed`: the keys that the mount shows; None for all. Raises CommandError for an endpoint or bucket that is none."""
    try:
        if listed is not None and listed.several:
            return _several(source, fetch, slab, listed, rates)
        bucket = Bucket(source, rates)
        pool = FetchPool(source, fetch, slab.fd, slab.size, rates=rates)
    except ValueError as error:
        raise CommandError(ExitCode.UNREACHABLE, str(error)) from None

    async def check() -> None:
        await _check(bucket)

    if listed is None:
        return Remote(bucket, bucket.head, pool, check, bucket.facts, "")
    return Remote(ManifestLister(bucket, listed.keys), bucket.head, pool, check, bucket.facts, digest(listed.keys))


def _several(source: SourceConfig, fetch: FetchConfig, slab: Slab, listed: Manifest, rates: Rates) -> Remote:
    sources = sources_of(source, listed.buckets)
    buckets = {name: Bucket(config, rates) for name, config in sources.items()}
    together = SeveralBuckets(buckets)

    async def check() -> None:
        for name, bucket in buckets.items():
            try:
                await _check(bucket)
            except CommandError as error:
                raise CommandError(error.code, f"oss://{name}: {error.message}") from None

    def facts() -> dict[str, object]:
        return merged([bucket.facts() for bucket in buckets.values()])

    pool = SeveralPools(sources, fetch, slab.fd, slab.size, rates)
    lister = ManifestLister(together, listed.keys)
    return Remote(lister, together.head, pool, check, facts, "buckets" + digest(listed.keys))


async def _check(bucket: Bucket) -> None:
    try:
        await bucket.check()
    except OssMountError as failure:
        raise refusal(failure) from failure
