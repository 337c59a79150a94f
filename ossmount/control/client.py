"""Asking a daemon: one JSON line there, one JSON line back. Blocking, standard library only."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ossmount.control.sockets import address

_LISTEN = 0.1  # seconds without a word after which listen() says so


class ControlError(Exception):
    """The daemon does not answer, or answered that it could not do it."""


class Gone(ControlError):
    """There is no daemon at this socket, or it ended before it answered."""


def listen(path: str | Path, command: str, *, timeout: float, **arguments: object) -> Iterator[dict[str, Any]]:
    """What the daemon goes on saying, one JSON object after the other, until it ends; raises ControlError.

    timeout: seconds for the first word only. Where nothing was said for a tenth of a second, {} is given out, so that whoever
    listens can do something else.
    """
    received = bytearray()
    heard = False
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, address(Path(path)) as where:
            connection.settimeout(timeout)
            connection.connect(where)
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            connection.settimeout(_LISTEN)
            while True:
                try:
                    piece = connection.recv(1 << 16)
                except TimeoutError:
                    if not heard and time.monotonic() > deadline:
                        raise ControlError(f"the daemon does not answer within {timeout:g} s") from None
                    yield {}
                    continue
                if not piece:
                    return
                *lines, received[:] = (received + piece).split(b"\n")
                for line in lines:
                    heard = True
                    answer = json.loads(line)
                    if "error" in answer:
                        raise ControlError(str(answer["error"]))
                    yield answer
    except OSError as error:
        raise ControlError(f"the daemon cannot be asked: {error.strerror}") from error


def ask(path: str | Path, command: str, *, timeout: float, **arguments: object) -> dict[str, Any]:
    """The daemon's answer; raises ControlError, or Gone. timeout: seconds for the whole conversation."""
    deadline = time.monotonic() + timeout
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, address(Path(path)) as where:
            connection.settimeout(timeout)
            connection.connect(where)
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            while not received.endswith(b"\n"):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = connection.recv(1 << 16)
                if not piece:
                    raise Gone("the daemon closed the conversation without an answer")
                received += piece
    except TimeoutError:
        raise ControlError(f"the daemon does not answer within {timeout:g} s") from None
    except OSError as error:
        raise Gone(f"the daemon cannot be asked: {error.strerror}") from error
    answer = json.loads(received)
    if not isinstance(answer, dict):
        raise ControlError("the daemon's answer is not understood")
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
