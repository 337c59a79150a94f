"""Requests under way, and waiting for several of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from ossmount.errors import OssMountError, Unavailable


class Flight:
    """A request under way, expected to show the keys of `directory` from start to end: with a delimiter its names only,
    without one all that is below it."""

    def __init__(self, directory: int = 0, start: bytes = b"", end: bytes = b"", delimiter: bytes = b"") -> None:
        self.directory = directory
        self.start = start
        self.end = end
        self.delimiter = delimiter
        self.done = trio.Event()
        self.failure: OssMountError | None = Unavailable("the mount is being stopped")

    def shows(self, directory: int, start_after: bytes, delimiter: bytes) -> bool:
        """Whether it is expected to show what a listing of `directory` from start_after on begins with."""
        return self.directory == directory and self.delimiter == delimiter and self.start <= start_after < self.end


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
