"""Takes a snapshot over into the store, as if its keys had come as pages of a listing at the time when it was made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import trio

from ossmount.metadata import snapshot
from ossmount.metadata.pages import Split, split_page
from ossmount.metadata.snapshot import File, Header, SnapshotError
from ossmount.metadata.store import ROOT, Store
from ossmount.metadata.transaction import Change
from ossmount.metadata.tree import Tree
from ossmount.model import ListPage, ObjectInfo

BATCH = 5_000  # keys in one transaction; about 4 MB
NOTE = b"snapshot"  # in the store: the header of the one that was taken over last


class Source(Protocol):
    """A snapshot, wherever it lies. Raises SnapshotError, OssMountError."""

    async def header(self) -> Header:
        """What it is of: asked before the rest is needed."""
        ...

    def whole(self) -> AbstractAsyncContextManager[File]:
        """All of it on this machine, checked."""
        ...


class LocalSnapshot:
    """Implements Source for a file."""

    def __init__(self, file: File) -> None:
        self._file = file

    async def header(self) -> Header:
        return await trio.to_thread.run_sync(snapshot.check, self._file)

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[File]:
        yield self._file


class Loader:
    """One snapshot into one store."""

    def __init__(self, store: Store, tree: Tree, prefix: bytes, news: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        self._store = store
        self._tree = tree
        self._prefix = prefix
        self._news = news

    async def run(self, source: Source) -> int:
        """The number of keys below the mounted prefix; 0 when the store has this snapshot already.

        Raises SnapshotError, and OssMountError for one that cannot be received.
        """
        header = await source.header()
        if self._store.noted(NOTE) == header.to_json():
            return 0
        async with source.whole() as file:
            return await self._take_over(file, snapshot.read_header(file))

    async def _take_over(self, file: File, header: Header) -> int:
        if not self._prefix.startswith(header.prefix):
            raise SnapshotError(f"{file} holds only what lies below {header.prefix.decode('utf-8', 'backslashreplace')}")
        pages = snapshot.read(file, BATCH)
        count = 0
        after = b""
        held: list[ObjectInfo] = []
        while (batch := await trio.to_thread.run_sync(lambda: next(pages, None))) is not None:
            below = [info for info in batch if info.key.startswith(self._prefix)]
            count += len(below)
            if held and below:
                await self._merge(self._split(file, after, held, last=False), header.time)
                after = held[-1].key
            held = below or held
        await self._merge(self._split(file, after, held, last=True), header.time)
        await self._store.write(lambda transaction: transaction.note(NOTE, header.to_json()))
        return count

    def _split(self, file: File, after: bytes, objects: list[ObjectInfo], *, last: bool) -> Split:
        try:
            return split_page(self._prefix, b"", after, ListPage(objects, [], "" if last else "more"))
        except ValueError as failure:
            raise SnapshotError(f"{file} is damaged: {failure}") from None

    async def _merge(self, split: Split, time: float) -> None:
        changes = await self._store.write(lambda transaction: transaction.merge(ROOT, split, time))
        self._tree.apply(changes)
        await self._news(changes)
