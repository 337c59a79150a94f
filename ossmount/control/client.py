"""Asking a daemon: one JSON line there, one JSON line back. Blocking, standard library only."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from ossmount.control.sockets import address


class ControlError(Exception):
    """The daemon does not answer, or answered that it could not do it."""


class Gone(ControlError):
    """There is no daemon at this socket, or it ended before it answered."""


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
