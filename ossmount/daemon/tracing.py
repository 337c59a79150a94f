"""The command `trace` of the control socket: every request of the kernel as it is answered, for as long as the client listens.

client: {"command": "trace", "slower_than": 0.01}    daemon: {"tracing": true}, then now and then
        {"requests": [{"time": …, "operation": "READ", "node": 7, "path": "a/b", "offset": 0, "size": 4096, "ms": 1.5,
         "errno": ""}, …], "lost": 0}
Nothing is done for it while nobody listens (see ossmount.channel.kernel_channel.observing); while somebody does, each request
costs some 20 microseconds more.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from ossmount.channel.interface import Channel, Ended, Observable
from ossmount.control.server import BadRequest, Conversation
from ossmount.errors import OssMountError

MOST: Final = 20_000  # requests that wait to be sent; a client that does not keep up loses those beyond
_EVERY: Final = 0.1  # seconds between two messages


class Tracing:
    """Serves the clients that listen."""

    def __init__(self, channel: Channel, key_of: Callable[[int], bytes], prefix: bytes) -> None:
        self._channel = channel
        self._key_of = key_of
        self._prefix = prefix

    async def talk(self, request: dict[str, Any], conversation: Conversation) -> None:
        """One client, until it leaves."""
        slower_than = request.get("slower_than", 0.0)
        if not isinstance(slower_than, int | float) or not slower_than >= 0:
            raise BadRequest("trace: slower_than is a number of seconds")
        if not isinstance(self._channel, Observable):
            raise BadRequest("trace: only over the kernel channel (--channel kernel); libfuse does not show its requests")
        gathered: list[dict[str, Any]] = []
        lost = 0

        def note(ended: Ended) -> None:
            nonlocal lost
            if len(gathered) < MOST:
                gathered.append(self._shown(ended))
            else:
                lost += 1

        end = self._channel.observed.watch(note, float(slower_than))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, conversation, nursery.cancel_scope)
                await conversation.send({"tracing": True})
                while True:
                    await trio.sleep(_EVERY)
                    if gathered or lost:
                        sent, gathered[:] = gathered[:], []
                        told, lost = lost, 0
                        await conversation.send({"requests": sent, "lost": told})
        finally:
            end()

    def _shown(self, ended: Ended) -> dict[str, Any]:
        try:
            key: bytes | None = self._key_of(ended.node).removeprefix(self._prefix)
        except OssMountError:
            key = None
        name = b"/" + ended.name if ended.name and key and not key.endswith(b"/") else ended.name
        return {
            "time": round(time.time(), 6),
            "operation": ended.operation,
            "node": ended.node,
            "path": None if key is None else os.fsdecode(key + name),
            "offset": ended.offset,
            "size": ended.size,
            "ms": round(ended.seconds * 1e3, 3),
            "errno": errno.errorcode.get(ended.errno, str(ended.errno)) if ended.errno else "",
        }


async def _until_gone(conversation: Conversation, client: trio.CancelScope) -> None:
    """A client has nothing to say any more: whatever comes is its end."""
    await conversation.receive()
    client.cancel()
