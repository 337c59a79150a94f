"""Looks at memory from time to time, and hands each part of the mount its share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import trio

from ossmount.daemon import memory
from ossmount.daemon.governor import Governor, Look, Shares
from ossmount.daemon.processes import descendants

#: Seconds between two looks. One costs about 1 ms of CPU.
_LOOK: Final = 1.0


class Governing:
    """A component of the daemon."""

    def __init__(self, limit: int, connections: int, look: Callable[[], Look], apply: Callable[[Shares], None]) -> None:
        """apply: called with the shares whenever they are others than before."""
        self._look = look
        self._apply = apply
        self._limit = limit
        self._governor = Governor(limit, connections, look())
        self._applied = self._governor.shares

    async def run(self, started: Callable[[], None]) -> None:
        self.turn()  # a limit beyond what the container has is not waited out
        started()
        while True:
            await trio.sleep(_LOOK)
            self.turn()

    def turn(self) -> None:
        """One look, and what follows from it."""
        shares = self._governor.step(self._look())
        if shares._replace(kernel=0) != self._applied._replace(kernel=0):
            self._apply(shares)
        self._applied = shares

    def for_kernel(self) -> int:
        """Bytes that may be put into the kernel's page cache before anybody reads them."""
        return self._governor.shares.kernel

    def facts(self) -> dict[str, object]:
        """Bytes, as of the last look: the shares, and what they follow from."""
        governor = self._governor
        return {
            **governor.shares._asdict(),
            "limit": self._limit,
            "reason": governor.reason,
            "shrunk": governor.shrunk,
            "used_slab": governor.look.slab,
            "used_beside": governor.look.beside,
            "available": governor.look.available,
            "total": governor.look.total,
        }


def look(resident: Callable[[], int]) -> Look:
    """resident: bytes that the slab takes of the machine."""
    me = os.getpid()
    beside = memory.private_memory([me, *descendants(me)])
    return Look(memory.usable_memory(), memory.available_memory(), resident(), beside)
