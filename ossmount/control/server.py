"""The daemon's side of the control socket.

Each conversation is a task of its own in run()'s nursery. What goes wrong in one is logged and answered there, and never
reaches the mount.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from ossmount.control.sockets import address

log = logging.getLogger(__name__)

#: A command takes the request and returns the answer, both JSON objects.
Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_LONGEST_REQUEST = 1 << 20  # bytes of one line
_IDLE = 60.0  # seconds that a client may take to send a line or to take an answer


class Conversation:
    """A client that goes on talking after its first request: JSON objects there and back, one in a line."""

    def __init__(self, stream: trio.SocketStream, pending: bytearray) -> None:
        self._stream = stream
        self._pending = pending

    async def receive(self) -> dict[str, Any] | None:
        """The next request, however long it takes; None when the client has gone. Raises BadRequest."""
        try:
            line = await _receive_line(self._stream, self._pending)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        return None if line is None else _request(line)

    async def send(self, answer: dict[str, Any]) -> None:
        with trio.fail_after(_IDLE):
            await self._stream.send_all(json.dumps(answer, default=str).encode() + b"\n")


#: A command that lasts as long as the client stays.
Talk = Callable[[dict[str, Any], Conversation], Awaitable[None]]


class BadRequest(Exception):
    """A request that is not understood; its text is the answer."""


class ControlServer:
    """Serves commands on a socket that only its owner can open."""

    def __init__(self, path: Path, commands: Mapping[str, Command], talks: Mapping[str, Talk] | None = None) -> None:
        self._path = path
        self._commands = commands
        self._talks = talks or {}

    async def run(self, started: Callable[[], None]) -> None:
        """Serves until it is cancelled, then removes the socket."""
        listener = trio.SocketListener(self._listen())
        try:
            started()
            await trio.serve_listeners(self._converse, [listener])  # which waits while there are no descriptors left
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _listen(self) -> trio.socket.SocketType:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a daemon that was killed: bind() refuses an existing name
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with address(self._path) as where:
            listener.bind(where)
        # The state directory is 0700, so nobody else gets here between bind() and chmod().
        os.chmod(self._path, 0o600)
        listener.listen(64)
        return trio.socket.from_stdlib_socket(listener)

    async def _converse(self, stream: trio.SocketStream) -> None:
        """Answers the lines of one client, one after the other."""
        pending = bytearray()
        async with stream:
            try:
                while True:
                    with trio.fail_after(_IDLE):
                        line = await _receive_line(stream, pending)
                    if line is None:
                        return
                    conversation = Conversation(stream, pending)
                    try:
                        request = _request(line)
                        talk = self._talks.get(request["command"])
                        if talk is not None:
                            await talk(request, conversation)
                            return
                        answer = await self._answer(request)
                    except BadRequest as error:
                        answer = {"error": str(error)}
                    except Exception as error:  # the boundary: a defect in one answer must not end the mount
                        if _is_gone(error):
                            raise
                        log.exception("control: %r failed", line[:200])
                        answer = {"error": f"{type(error).__name__}: {error}"}
                    await conversation.send(answer)
            except Exception as error:
                if not (_is_gone(error) or isinstance(error, BadRequest)):
                    raise
                log.info("control: a client is gone: %r", error)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command = self._commands.get(request["command"])
        if command is None:
            known = ", ".join(sorted([*self._commands, *self._talks]))
            raise BadRequest(f"unknown command {request['command']!r}; there are: {known}")
        return await command(request)


def _is_gone(error: BaseException) -> bool:
    """Whether a client has left, or takes nothing, and nothing else went wrong. A conversation with tasks raises groups."""
    parts: Sequence[BaseException] = getattr(error, "exceptions", ())
    if parts:
        return all(map(_is_gone, parts))
    return isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError))


def _request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not a JSON object: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise BadRequest("a request is a JSON object with a command")
    return request


async def _receive_line(stream: trio.SocketStream, pending: bytearray) -> bytes | None:
    """The next line, without its end; None when the client has closed. What follows the line stays in pending."""
    while b"\n" not in pending:
        piece = await stream.receive_some(1 << 16)
        if not piece:
            return None
        pending += piece
        if len(pending) > _LONGEST_REQUEST:
            raise BadRequest("the request is too long")
    line, _, rest = bytes(pending).partition(b"\n")
    pending[:] = rest
    return line
