"""The command `prefetch` of the control socket: a client tells in which order files will be read.

client: {"command": "prefetch"}                     daemon: {"ready": true}
client: {"command": "feed", "paths": ["a/b", …]}    daemon: {"taken": 500, "unknown": 2, …}, as soon as there is room for more
client: {"command": "finish"}                       daemon: {"done": true, …}, once everything is fetched or left out
client: {"command": "finish", "progress": true}     daemon: {"done": false, …} once a second, and that at the end
Paths are relative to the mount, or absolute and below the mountpoint. The list lasts as long as the connection: a client
that leaves before it is done takes it back. Each answer says how far the list is, for a client that has to go on with another
daemon: "passed" paths at its beginning are done with, that are "files" of the mount, of which "fetched" were fetched.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from ossmount.control.server import BadRequest, Conversation
from ossmount.filesystem.ahead.paths import PathFinder
from ossmount.filesystem.ahead.scheduler import Scheduler
from ossmount.filesystem.ahead.targets import Target
from ossmount.filesystem.ahead.told import ToldList
from ossmount.metadata.interface import Namespace

MOST_PATHS = 4096  # in one request
LOOK = 0.02  # seconds between looks at whether there is room
PROGRESS = 1.0  # seconds between two answers to a client that waits for the end


class _Told:
    """The list of one client, and which of its paths became which of its files."""

    def __init__(self, files: ToldList) -> None:
        self.files = files
        self._paths: deque[int] = deque()  # for each path that is not done with: how many files the list had with it
        self._passed = 0

    def add(self, targets: Sequence[Target | None]) -> None:
        """A file, or None, for each path."""
        count = self.files.told
        for target in targets:
            count += target is not None
            self._paths.append(count)
        self.files.add([target for target in targets if target is not None])

    def progress(self) -> dict[str, Any]:
        settled = self.files.settled
        while self._paths and self._paths[0] <= settled:
            self._paths.popleft()
            self._passed += 1
        return {"passed": self._passed, "files": settled, "fetched": min(settled, self.files.fetched)}


class Prefetching:
    """Serves the clients that tell an order, each with a list of its own."""

    def __init__(self, scheduler: Scheduler, namespace: Namespace, mountpoint: str) -> None:
        self._scheduler = scheduler
        self._namespace = namespace
        self._mountpoint = os.fsencode(mountpoint.rstrip("/")) + b"/"

    async def talk(self, request: dict[str, Any], conversation: Conversation) -> None:
        """One client, until it leaves or is done."""
        files = self._scheduler.open_list()
        told = _Told(files)
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        try:
            await conversation.send({"ready": True})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, conversation, send, nursery.cancel_scope)
                finder = PathFinder(self._namespace)
                async for each in receive:
                    if each["command"] == "finish":
                        await self._finish(told, conversation, progress=bool(each.get("progress")))
                    else:
                        await conversation.send(await self._serve(each, told, finder))
                nursery.cancel_scope.cancel()
        finally:
            self._scheduler.close_list(files)

    async def _listen(
        self, conversation: Conversation, send: trio.MemorySendChannel[dict[str, Any]], client: trio.CancelScope
    ) -> None:
        """Hears at once of a client that leaves, also while it is made to wait."""
        while True:
            try:
                request = await conversation.receive()
            except BadRequest as error:
                await conversation.send({"error": str(error)})
                request = None
            if request is None:
                client.cancel()
                return
            await send.send(request)

    async def _serve(self, request: dict[str, Any], told: _Told, finder: PathFinder) -> dict[str, Any]:
        if request["command"] == "feed":
            return await self._feed(request.get("paths"), told, finder)
        return {"error": f"{request['command']!r}: here only feed and finish are understood"}

    async def _finish(self, told: _Told, conversation: Conversation, *, progress: bool) -> None:
        files = told.files
        files.ended = True
        while not files.done:
            with trio.move_on_after(PROGRESS if progress else float("inf")):
                while not files.done:
                    await trio.sleep(LOOK)
            if not files.done:
                await conversation.send({"done": False, **told.progress()})
        counts = {"told": files.told, "fetched": files.fetched, "left_out": files.left_out}
        await conversation.send({"done": True, **told.progress(), **counts})

    async def _feed(self, paths: object, told: _Told, finder: PathFinder) -> dict[str, Any]:
        if not isinstance(paths, list) or len(paths) > MOST_PATHS or not all(isinstance(path, str) for path in paths):
            return {"error": f"paths: a list of at most {MOST_PATHS} strings"}
        while told.files.room < len(paths) and told.files.room < MOST_PATHS:
            await trio.sleep(LOOK)
        targets = await finder.targets([self._relative(path) for path in paths])
        told.add(targets)
        self._scheduler.told()
        return {"taken": len(paths), "unknown": targets.count(None), **told.progress()}

    def _relative(self, path: str) -> bytes:
        written = os.fsencode(path)
        return written.removeprefix(self._mountpoint) if written.startswith(b"/") else written
