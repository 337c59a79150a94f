"""The command `prefetch` of the control socket: a client tells in which order files will be read.

client: {"command": "prefetch"}                     daemon: {"ready": true}
client: {"command": "feed", "paths": ["a/b", …]}    daemon: {"taken": 500, "unknown": 2}, as soon as there is room for more
client: {"command": "finish"}                       daemon: {"done": true, …}, once everything is fetched or left out
Paths are relative to the mount, or absolute and below the mountpoint. The list lasts as long as the connection: a client
that leaves before it is done takes it back.
"""

from __future__ import annotations

import os
from typing import Any

import trio

from ossmount.control.server import BadRequest, Conversation
from ossmount.filesystem.ahead.paths import PathFinder
from ossmount.filesystem.ahead.scheduler import Scheduler
from ossmount.filesystem.ahead.told import ToldList
from ossmount.metadata.interface import Namespace

MOST_PATHS = 4096  # in one request
LOOK = 0.02  # seconds between looks at whether there is room


class Prefetching:
    """Serves the clients that tell an order, each with a list of its own."""

    def __init__(self, scheduler: Scheduler, namespace: Namespace, mountpoint: str) -> None:
        self._scheduler = scheduler
        self._namespace = namespace
        self._mountpoint = os.fsencode(mountpoint.rstrip("/")) + b"/"

    async def talk(self, request: dict[str, Any], conversation: Conversation) -> None:
        """One client, until it leaves or is done."""
        told = self._scheduler.open_list()
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        try:
            await conversation.send({"ready": True})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, conversation, send, nursery.cancel_scope)
                finder = PathFinder(self._namespace)
                async for each in receive:
                    await conversation.send(await self._serve(each, told, finder))
                nursery.cancel_scope.cancel()
        finally:
            self._scheduler.close_list(told)

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

    async def _serve(self, request: dict[str, Any], told: ToldList, finder: PathFinder) -> dict[str, Any]:
        if request["command"] == "feed":
            return await self._feed(request.get("paths"), told, finder)
        if request["command"] == "finish":
            told.ended = True
            while not told.done:
                await trio.sleep(LOOK)
            return {"done": True, "told": told.told, "fetched": told.fetched, "left_out": told.left_out}
        return {"error": f"{request['command']!r}: here only feed and finish are understood"}

    async def _feed(self, paths: object, told: ToldList, finder: PathFinder) -> dict[str, Any]:
        if not isinstance(paths, list) or len(paths) > MOST_PATHS or not all(isinstance(path, str) for path in paths):
            return {"error": f"paths: a list of at most {MOST_PATHS} strings"}
        while told.room < len(paths) and told.room < MOST_PATHS:
            await trio.sleep(LOOK)
        targets = await finder.targets([self._relative(path) for path in paths])
        told.add(targets)
        self._scheduler.told()
        return {"taken": len(paths), "unknown": len(paths) - len(targets)}

    def _relative(self, path: str) -> bytes:
        written = os.fsencode(path)
        return written.removeprefix(self._mountpoint) if written.startswith(b"/") else written
