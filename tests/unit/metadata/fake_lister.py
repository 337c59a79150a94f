"""An in-memory OSS for the tests of the metadata: deterministic, no threads, counts its requests."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, cast

import trio

from ossmount.config import MetadataConfig
from ossmount.errors import NotFound, OssMountError, Unavailable
from ossmount.metadata.interface import Named
from ossmount.metadata.loader import Source
from ossmount.metadata.namespace import TreeNamespace
from ossmount.metadata.pruner import Known
from ossmount.model import Found, ListPage, ObjectInfo, Soon, T

EPOCH = 1_700_000_000.0


class FakeLister:
    """Keys in memory, listed as ListObjectsV2 lists them. `latency` is in seconds of trio's clock."""

    def __init__(self, keys: Sequence[bytes] = (), latency: float = 0.0, page_limit: int = 1000) -> None:
        self.objects: dict[bytes, ObjectInfo] = {}
        self.order: list[bytes] = []
        self.latency = latency
        self.page_limit = page_limit
        self.requests: list[tuple[str, bytes, bytes, bytes]] = []  # kind, prefix or key, delimiter, start_after
        self.targets: dict[bytes, bytes] = {}
        self.failure: OssMountError | None = None
        self.fails: Callable[[int], bool] = lambda lists: False  # whether a LIST fails that comes after so many
        self.failed = 0
        self.under_way = 0
        self.most_under_way = 0
        for key in keys:
            self.put(key)

    def put(self, key: bytes, data: bytes = b"", **fields: object) -> None:
        if key not in self.objects:
            insort(self.order, key)
        info = ObjectInfo(key, len(data), 1_600_000_000 * 10**9, hashlib.md5(data).hexdigest())
        self.objects[key] = info._replace(**fields)  # type: ignore[arg-type]

    def delete(self, key: bytes) -> None:
        del self.objects[key]
        self.order.remove(key)

    @property
    def lists(self) -> int:
        return sum(kind == "LIST" for kind, *_ in self.requests)

    @property
    def heads(self) -> int:
        return sum(kind == "HEAD" for kind, *_ in self.requests)

    @asynccontextmanager
    async def _request(self, kind: str, key: bytes, delimiter: bytes = b"", start_after: bytes = b"") -> AsyncIterator[None]:
        self.requests.append((kind, key, delimiter, start_after))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await trio.sleep(self.latency / 2)
            if self.failure is not None:
                raise self.failure
            yield
            await trio.sleep(self.latency / 2)
        finally:
            self.under_way -= 1

    async def list_page(
        self, prefix: bytes, *, delimiter: bytes = b"", start_after: bytes = b"", token: str = "", max_keys: int = 1000
    ) -> ListPage:
        if self.fails(self.lists):
            self.failed += 1
            self.requests.append(("LIST", prefix, delimiter, start_after))
            raise Unavailable("a test")
        async with self._request("LIST", prefix, delimiter, start_after):
            return self._page(prefix, delimiter, start_after, min(max_keys, self.page_limit))

    def _page(self, prefix: bytes, delimiter: bytes, start_after: bytes, max_keys: int) -> ListPage:
        objects: list[ObjectInfo] = []
        prefixes: list[bytes] = []
        at = max(bisect_left(self.order, prefix), bisect_right(self.order, start_after))
        while at < len(self.order) and self.order[at].startswith(prefix):
            if len(objects) + len(prefixes) == max_keys:
                return ListPage(objects, prefixes, "more")
            key = self.order[at]
            slash = key.find(delimiter, len(prefix)) if delimiter else -1
            if slash >= 0:
                prefixes.append(key[: slash + 1])
                at = bisect_right(self.order, key[:slash] + b"/" + b"\xff")
            else:
                objects.append(self.objects[key])
                at += 1
        return ListPage(objects, prefixes, "")

    async def head(self, key: bytes) -> ObjectInfo:
        async with self._request("HEAD", key):
            if key not in self.objects:
                raise NotFound(key.decode())
            info = self.objects[key]
            if info.object_type == "Symlink":  # HEAD follows a link
                if self.targets.get(key) not in self.objects:
                    raise NotFound(key.decode())
                pointed = self.objects[self.targets[key]]
                return pointed._replace(key=key, object_type="Symlink")
            return info

    async def symlink_target(self, key: bytes) -> bytes:
        async with self._request("SYMLINK", key):
            return self.targets[key]


async def soon(answer: Soon[T]) -> T:
    """What a channel does with an answer that may be a coroutine."""
    if isinstance(answer, Coroutine):
        return cast(T, await answer)
    return answer


@asynccontextmanager
async def running(
    lister: FakeLister,
    directory: Path,
    *,
    prefix: bytes = b"",
    on_change: Callable[[int, Sequence[tuple[int, bytes]]], None] = lambda node, names: None,
    now: Callable[[], float] = lambda: EPOCH,
    snapshot: Source | None = None,
    known: Known | None = None,
    caught_up: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    **config: object,
) -> AsyncIterator[TreeNamespace]:
    """A namespace over the lister, running; stopped at the end."""
    namespace = TreeNamespace(
        lister,
        MetadataConfig(directory, **config),  # type: ignore[arg-type]
        identity="test",
        prefix=prefix,
        on_change=on_change,
        snapshot=snapshot,
        known=known,
        caught_up=caught_up,
        now=now,
    )
    started = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(namespace.run, started.set)
        await started.wait()
        yield namespace
        nursery.cancel_scope.cancel()


class Row(NamedTuple):
    """A name of a listing, and the node that it says to be there."""

    name: bytes
    found: Found


def row_of(namespace: TreeNamespace, named: Named) -> Row:
    """Holds what the listing says of a node against the node itself."""
    node = namespace.resolve(named.node)
    assert (named.kind, named.size, named.mtime_ns) == (node.kind, node.size, node.mtime_ns)
    return Row(named.name, Found(node, named.fresh_for))


async def list_all(namespace: TreeNamespace, node: int) -> list[Row]:
    """Everything that readdir would see."""
    rows: list[Row] = []
    while batch := await soon(namespace.list(node, rows[-1].name if rows else b"")):
        rows.extend(row_of(namespace, named) for named in batch)
    return rows


async def walk(namespace: TreeNamespace, node: int = 1, path: bytes = b"") -> dict[bytes, Found]:
    """All paths below a directory, depth first in the order of their names."""
    found: dict[bytes, Found] = {}
    for name, entry in await list_all(namespace, node):
        found[path + name] = entry
        if entry.node.kind == 1:
            found.update(await walk(namespace, entry.node.id, path + name + b"/"))
    return found
