"""Requests under way, and waiting for several of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from ossmount.errors import OssMountError, Unavailable


class Flight:
    """A request under way, expected to show the keys of `directory` from start to end."""

    def __init__(self, directory: int = 0, start: bytes = b"", end: bytes = b"") -> None:
        self.directory = directory
        self.start = start
        self.end = end
        self.done = trio.Event()
        self.failure: OssMountError | None = Unavailable("the mount is being stopped")


async def together(asks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Awaits all at once; raises the first failure as it is, not in a group."""
    failures: list[OssMountError] = []

    async def one(ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except OssMountError as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery:
        for ask in asks:
            nursery.start_soon(one, ask)
    if failures:
        raise failures[0]
