"""How bytes move over a non-blocking socket: the seam that plain sockets and TLS share, and the plain one."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final, Protocol

#: Instead of a number of bytes: nothing now; try again when the socket is readable, or writable.
WANT_READ: Final = -1
WANT_WRITE: Final = -2


class Link(Protocol):
    """One end of a connection. Raises OSError when it breaks."""

    #: A receive that filled less than it was given has emptied the socket.
    drains: bool

    def receive(self, windows: Sequence[memoryview]) -> int:
        """Bytes received into the windows, in order; 0 at the end of the stream; WANT_READ or WANT_WRITE."""
        ...

    def send(self, data: memoryview) -> int:
        """Bytes taken, WANT_READ or WANT_WRITE."""
        ...


class PlainLink:
    """A socket as it is."""

    drains = True

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def receive(self, windows: Sequence[memoryview]) -> int:
        try:
            if len(windows) == 1:
                return self._socket.recv_into(windows[0])
            return self._socket.recvmsg_into(windows)[0]
        except (BlockingIOError, InterruptedError):
            return WANT_READ

    def send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return WANT_WRITE
