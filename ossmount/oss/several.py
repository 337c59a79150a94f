"""Several buckets as one: their keys behind the bucket's name, BUCKET/KEY.

For mounts whose list names objects of several buckets. Everything above sees one bucket with a folder for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio

from ossmount.config import FetchConfig, SourceConfig
from ossmount.durations import merged_tables
from ossmount.errors import NotFound
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.endpoint import endpoint_of
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import FetchDone, FetchProgress, FetchRequest, ObjectLister, SlowFetch, SlowWatcher, StoreDone
from ossmount.oss.rates.rates import Rates

MOST = 16  # buckets: each has fetch processes of its own, of some 15 MB


def sources_of(source: SourceConfig, buckets: Sequence[str]) -> dict[str, SourceConfig]:
    """The same source with each of these buckets, in the order of their keys. Raises ValueError for an endpoint that leads to
    one bucket only, and for too many.
    """
    if len(buckets) > MOST:
        raise ValueError(f"{len(buckets)} buckets in one mount: {MOST} are the most")
    made = {bucket: source._replace(bucket=bucket, prefix=b"") for bucket in sorted(buckets, key=lambda name: name + "/")}
    if len({endpoint_of(each) for each in made.values()}) < len(made):
        raise ValueError(f"{source.endpoint} leads to one bucket only: give the endpoint of the region for several")
    return made


def _parted(key: bytes) -> tuple[str, bytes]:
    bucket, _, rest = key.partition(b"/")
    return bucket.decode("utf-8", "surrogateescape"), rest


class SeveralBuckets:
    """Implements ObjectLister; keys and prefixes begin with the name of a bucket."""

    def __init__(self, buckets: Mapping[str, ObjectLister]) -> None:
        """In the order of `sources_of`."""
        self._buckets = buckets

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        """One page, of one bucket. Without delimiter and token only: whoever lists goes on behind the last key."""
        assert not delimiter and not token, "a list of keys is described, not walked through"
        for name, bucket in self._buckets.items():
            head = name.encode() + b"/"
            if not (head.startswith(prefix) or prefix.startswith(head)) or (
                start_after > head and not start_after.startswith(head)
            ):
                continue
            after = start_after[len(head) :] if start_after.startswith(head) else b""
            page = await bucket.list_page(prefix[len(head) :], start_after=after, max_keys=max_keys)
            last = not any(other.encode() + b"/" > head for other in self._buckets)
            if page.objects or page.next_token or last:
                objects = [info._replace(key=head + info.key) for info in page.objects]
                return ListPage(objects, [], page.next_token or ("" if last else "more"))
        return ListPage([], [], "")

    async def head(self, key: bytes) -> ObjectInfo:
        bucket, rest = self._of(key)
        return (await bucket.head(rest))._replace(key=key)

    async def symlink_target(self, key: bytes) -> bytes:
        """A link points to an object of its own bucket."""
        bucket, rest = self._of(key)
        return key.partition(b"/")[0] + b"/" + await bucket.symlink_target(rest)

    def _of(self, key: bytes) -> tuple[ObjectLister, bytes]:
        name, rest = _parted(key)
        bucket = self._buckets.get(name)
        if bucket is None or not rest:
            raise NotFound(f"{key!r} lies in none of the buckets of this mount")
        return bucket, rest


class SeveralPools:
    """Implements Fetcher and PageStorer; keys begin with the name of a bucket, each has a FetchPool.

    Numbers of fetches tell the pool: number * pools + index. What is stored into the kernel's page cache has no bucket: the
    first pool does it.
    """

    def __init__(
        self, sources: Mapping[str, SourceConfig], config: FetchConfig, slab_fd: int, slab_size: int, rates: Rates
    ) -> None:
        """rates: of all of them together. Raises ValueError as FetchPool does."""
        share = config._replace(
            workers=max(1, config.workers // len(sources)), connections=max(1, config.connections // len(sources))
        )
        self._pools = [FetchPool(source, share, slab_fd, slab_size, rates=rates) for source in sources.values()]
        self._places = {name: index for index, name in enumerate(sources)}

    def fetch(self, request: FetchRequest, done: FetchDone, progress: FetchProgress | None = None) -> int:
        name, rest = _parted(request.version.key)
        index = self._places[name]
        inside = request._replace(version=request.version._replace(key=rest))
        return self._pools[index].fetch(inside, done, progress) * len(self._pools) + index

    def promote(self, number: int) -> None:
        number, index = divmod(number, len(self._pools))
        self._pools[index].promote(number)

    def cancel(self, number: int) -> None:
        number, index = divmod(number, len(self._pools))
        self._pools[index].cancel(number)

    def allow(self, connections: int) -> None:
        for pool in self._pools:
            pool.allow(max(1, connections // len(self._pools)))

    def store(self, node: int, size: int, targets: tuple[tuple[int, int], ...], done: StoreDone) -> bool:
        return self._pools[0].store(node, size, targets, done)

    def lend(self, device: int, guard: int) -> None:
        self._pools[0].lend(device, guard)

    def revoke(self) -> None:
        self._pools[0].revoke()

    async def run(self, started: Callable[[], None]) -> None:
        """Runs all pools until cancelled; calls started once all can be used."""
        ready = 0

        def one_started() -> None:
            nonlocal ready
            ready += 1
            if ready == len(self._pools):
                started()

        async with trio.open_nursery() as nursery:
            for pool in self._pools:
                nursery.start_soon(pool.run, one_started)

    def watch(self, watcher: SlowWatcher) -> None:
        for name, index in self._places.items():
            self._pools[index].watch(partial(_renamed, watcher, name.encode() + b"/"))

    def pids(self) -> list[int]:
        return [pid for pool in self._pools for pid in pool.pids()]

    def latency(self) -> float | None:
        return min((found for pool in self._pools if (found := pool.latency()) is not None), default=None)

    def facts(self) -> dict[str, object]:
        """The counters of all pools together."""
        return merged([pool.facts() for pool in self._pools])


def _renamed(watcher: SlowWatcher, head: bytes, slow: SlowFetch) -> None:
    watcher(slow._replace(key=head + slow.key))


def merged(parts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Numbers and what tables hold added up, lists one behind the other; the least of the latencies."""
    total: dict[str, object] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if part.get(name) is not None]
        if name == "latency_ms":
            total[name] = min((value for value in values if isinstance(value, float)), default=None)
        elif name == "durations":
            total[name] = merged_tables([value for value in values if isinstance(value, dict)])
        elif all(isinstance(value, list) for value in values):
            total[name] = [item for value in values if isinstance(value, list) for item in value]
        elif all(isinstance(value, dict) for value in values):
            counters: Counter[str] = Counter()
            for value in values:
                assert isinstance(value, dict)
                counters.update(value)
            total[name] = dict(counters)
        else:
            total[name] = sum(value for value in values if isinstance(value, int))
    return total
