"""The disk process that hands out whole copies, and checks which ones are whole."""

from __future__ import annotations

import marshal
import mmap
import os
import socket
from typing import Any

from ossmount.data.disk import copies, messages, store
from ossmount.data.disk.keeper import Trusted


class Copying:
    """One of several threads may be held by a check for long: the daemon asks for one at a time."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: dict[str, Any]) -> None:
        self._control = control
        self._trusted = Trusted(settings["directories"])
        self._touch_after: float = settings["touch_after"]

    def serve(self) -> None:
        """One thread."""
        buffer = memoryview(mmap.mmap(-1, store.BUFFER))
        while packet := self._control.recv(messages.LONGEST):
            kind, number, directory, name, size, *crc = marshal.loads(packet)
            if kind == messages.COPY:
                self._copy(number, directory, name, size)
            else:
                self._check(number, directory, name, size, buffer, *crc)

    def _copy(self, number: int, directory: int, name: bytes, size: int) -> None:
        copy, failure = None, 0
        try:
            root = self._trusted.root(directory)
            copy = None if root is None else copies.open_copy(root, name, size, self._touch_after)
        except OSError as error:
            failure = error.errno or 0
        packet = marshal.dumps((messages.COPIED, number, failure))
        if copy is None:
            self._control.send(packet)
        else:
            socket.send_fds(self._control, [packet], [copy])
            os.close(copy)

    def _check(self, number: int, directory: int, name: bytes, size: int, buffer: memoryview, crc: int | None) -> None:
        checked, failure = copies.Checked(size, 0, False), 0
        try:
            root = self._trusted.root(directory)
            if root is not None:
                checked = copies.check(root, name, size, buffer, crc)
        except OSError as error:
            failure = error.errno or 0
        self._control.send(marshal.dumps((messages.CHECKED, number, *checked, failure)))
