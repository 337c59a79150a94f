"""From the paths that a client tells to files."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import trio

from ossmount.errors import OssMountError
from ossmount.filesystem.ahead.targets import Target, target_of
from ossmount.metadata.interface import ROOT, Namespace
from ossmount.model import Absent, Found, Node, Soon

AT_ONCE = 16  # paths that OSS is asked for at the same time
_FOLDERS = 4096  # that are remembered

Asking = Coroutine[Any, Any, Found | Absent]


class PathFinder:
    """Looks up the paths of one client."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._folders: dict[bytes, int] = {}

    async def targets(self, paths: Sequence[bytes]) -> list[Target | None]:
        """The small files that the paths name; None for whatever else there is, or is not."""
        return [None if node is None else target_of(node) for node in await self.nodes(paths)]

    async def nodes(self, paths: Sequence[bytes]) -> list[Node | None]:
        """What each path names; None where that is nothing, or cannot be told."""
        found: list[Node | None] = [None] * len(paths)
        limit = trio.CapacityLimiter(AT_ONCE)

        async def look_up(index: int, asking: Asking | None) -> None:
            try:
                async with limit:
                    known = None if asking is None else await self._answer(asking)
                    found[index] = known or await self._find(paths[index])
            finally:
                if asking is not None:
                    asking.close()

        async with trio.open_nursery() as nursery:
            for index, path in enumerate(paths):
                answer = self._at_once(path)
                if isinstance(answer, Found):
                    found[index] = answer.node  # no task for what is in memory, as most paths of an order are
                else:
                    nursery.start_soon(look_up, index, answer)
        return found

    def _at_once(self, path: bytes) -> Found | Asking | None:
        """What is known of a file in a folder that was found before; None when there is more to be looked up."""
        above, _, name = path.rpartition(b"/")
        parent = self._folders.get(above)
        if parent is None:
            return None
        try:
            answer: Soon[Found | Absent] = self._namespace.lookup(parent, name)
        except OssMountError:
            return None  # the folder may be another one by now
        return None if isinstance(answer, Absent) else answer

    @staticmethod
    async def _answer(asking: Asking) -> Node | None:
        try:
            answer = await asking
        except OssMountError:
            return None
        return answer.node if isinstance(answer, Found) else None

    async def _find(self, path: bytes) -> Node | None:
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if not parts or b".." in parts:
            return None
        *folders, name = parts
        above = b"/".join(folders)
        try:
            parent = self._folders.get(above)
            if parent is not None:
                try:
                    return await self._look_up(parent, name)
                except OssMountError:
                    self._folders.pop(above, None)  # it may be another one by now
            parent = ROOT
            for folder in folders:
                node = await self._look_up(parent, folder)
                if node is None:
                    return None
                parent = node.id
            if len(self._folders) >= _FOLDERS:
                self._folders.clear()
            self._folders[above] = parent
            return await self._look_up(parent, name)
        except OssMountError:
            return None  # told wrongly, or OSS does not answer: the reader will be told

    async def _look_up(self, parent: int, name: bytes) -> Node | None:
        answer: Soon[Found | Absent] = self._namespace.lookup(parent, name)
        known = await answer if isinstance(answer, Coroutine) else answer
        return known.node if isinstance(known, Found) else None
