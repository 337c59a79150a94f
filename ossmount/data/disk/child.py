"""A disk process: reads from the cache directories into the slab, or writes from the slab to them.

Several threads take packets from one socket, each its own: the kernel deals them out, and nothing is handed over in Python.
Bytes are verified in memory of the thread before they are copied to the slab. So a process that was killed while a disk
hangs in one of its system calls cannot write into the slab any more.
"""

from __future__ import annotations

import marshal
import mmap
import os
import socket
import sys
import threading
from typing import Any

from ossmount.children.tie import tie_to
from ossmount.data.disk import copies, messages, store
from ossmount.data.disk.keeper import Keeper, Limits, Untrusted, check_owner, prepare, root_of
from ossmount.data.disk.pieces import Pieces


def main(control_fd: str, parent: str, role: str, slab_fd: str, slab_size: str) -> None:
    """Serves the daemon with process id `parent` until it closes its end of the socket, or dies. role: see _ROLES."""
    tie_to(int(parent), f"ossmount-{role}")
    control = socket.socket(fileno=int(control_fd))
    slab = memoryview(mmap.mmap(int(slab_fd), int(slab_size)))
    os.close(int(slab_fd))
    packet = control.recv(messages.LONGEST)
    if not packet:
        return
    settings: dict[str, Any] = marshal.loads(packet)
    work = _ROLES[role](control, slab, settings)
    threading.excepthook = _end_all
    threads = [threading.Thread(target=work.serve, daemon=True) for _ in range(settings["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _end_all(failure: threading.ExceptHookArgs) -> None:
    """A defect ends the process, which the daemon notices; a thread less, and it would wait for an answer."""
    if not isinstance(failure.exc_value, (BrokenPipeError, ConnectionResetError)):  # the daemon has closed its end
        sys.__excepthook__(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    os._exit(1)


class _Trusted:
    """The directories from which something may be read."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._roots = [root_of(directory) for directory in settings["directories"]]
        self._trusted: set[int] = set()

    def root(self, directory: int) -> str | None:
        """None where the directory is not there, or others could have put something there."""
        if directory not in self._trusted:
            try:
                check_owner(self._roots[directory])
            except (FileNotFoundError, Untrusted):  # the writing process makes it, and says what is wrong
                return None
            self._trusted.add(directory)
        return self._roots[directory]


class _Reading:
    """The reading process."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: dict[str, Any]) -> None:
        self._control = control
        self._slab = slab
        self._trusted = _Trusted(settings)
        self._touch_after: float = settings["touch_after"]

    def serve(self) -> None:
        """One thread."""
        buffer = memoryview(mmap.mmap(-1, store.BUFFER))
        while packet := self._control.recv(messages.LONGEST):
            message = marshal.loads(packet)
            self._control.send(marshal.dumps(self._read(message, buffer)))

    def _read(self, message: messages.Message, buffer: memoryview) -> messages.Message:
        _, number, directory, name, size, start, targets, wants_progress = message
        pieces = Pieces(self._slab, targets)

        def progress(received: int) -> None:
            self._control.send(marshal.dumps((messages.PROGRESS, number, received)))

        missing, bad, failure = [(start, start + pieces.length)], 0, 0
        try:
            root = self._trusted.root(directory)
            if root is not None:
                loaded = store.load(
                    root, name, size, start, pieces, buffer, self._touch_after, progress if wants_progress else None
                )
                missing, bad = loaded
        except OSError as error:
            failure = error.errno or 0
        return (messages.DONE, number, missing, bad, failure)


class _Writing:
    """The writing process, and the keepers of the directories."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: dict[str, Any]) -> None:
        self._control = control
        self._slab = slab
        self._keepers: list[Keeper | None] = []
        self._roots = [root_of(directory) for directory in settings["directories"]]
        for index, directory in enumerate(settings["directories"]):
            self._keepers.append(self._keeper(index, directory, Limits(settings["size"], settings["free_percent"])))

    def _keeper(self, index: int, directory: str, limits: Limits) -> Keeper | None:
        def report(state: dict[str, Any]) -> None:
            self._control.send(marshal.dumps((messages.STATE, index, state)))

        try:
            prepare(directory)
        except OSError as error:
            text = os.strerror(error.errno or 0)
        except Untrusted as error:
            text = str(error)
        else:
            keeper = Keeper(directory, limits, report)
            threading.Thread(target=keeper.run, daemon=True).start()
            return keeper
        self._control.send(marshal.dumps((messages.REFUSED, index, text)))
        return None

    def serve(self) -> None:
        """One thread."""
        while packet := self._control.recv(messages.LONGEST):
            _, number, directory, name, label, size, start, targets = marshal.loads(packet)
            written = failure = 0
            keeper = self._keepers[directory]
            try:
                pieces = Pieces(self._slab, targets)
                if keeper is not None and keeper.allows(pieces.length):
                    written = store.save(self._roots[directory], name, label, size, start, pieces)
                    keeper.wrote(written)
            except OSError as error:
                failure = error.errno or 0
            self._control.send(marshal.dumps((messages.WRITTEN, number, written, failure)))


class _Copying:
    """The process that hands out whole copies, and checks which ones are whole. A check may take its thread for long."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: dict[str, Any]) -> None:
        self._control = control
        self._trusted = _Trusted(settings)
        self._touch_after: float = settings["touch_after"]

    def serve(self) -> None:
        """One thread."""
        buffer = memoryview(mmap.mmap(-1, store.BUFFER))
        while packet := self._control.recv(messages.LONGEST):
            kind, number, directory, name, size = marshal.loads(packet)
            if kind == messages.COPY:
                self._copy(number, directory, name, size)
            else:
                self._check(number, directory, name, size, buffer)

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

    def _check(self, number: int, directory: int, name: bytes, size: int, buffer: memoryview) -> None:
        checked, failure = copies.Checked(size, 0, False), 0
        try:
            root = self._trusted.root(directory)
            if root is not None:
                checked = copies.check(root, name, size, buffer)
        except OSError as error:
            failure = error.errno or 0
        self._control.send(marshal.dumps((messages.CHECKED, number, *checked, failure)))


_ROLES: dict[str, type[_Reading | _Writing | _Copying]] = {"read": _Reading, "write": _Writing, "copy": _Copying}
