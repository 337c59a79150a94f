"""A disk process: reads from the cache directories into the slab, or writes from the slab to them.

Several threads take packets from one socket, each its own: the kernel deals them out, and nothing is handed over in Python.
Bytes are verified in memory of the thread before they are copied to the slab. So a process that was killed while a disk
hangs in one of its system calls cannot write into the slab any more.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import mmap
import os
import socket
import sys
import threading
from functools import partial
from typing import Any

from ossmount.children.allocator import keep_little
from ossmount.children.tie import tie_to
from ossmount.data.disk import messages, pins, store
from ossmount.data.disk.copying import Copying
from ossmount.data.disk.keeper import Keeper, Limits, Trusted, Untrusted, prepare, root_of
from ossmount.data.disk.known import Listing
from ossmount.data.disk.pieces import Pieces


def main(control_fd: str, parent: str, role: str, slab_fd: str, slab_size: str) -> None:
    """Serves the daemon with process id `parent` until it closes its end of the socket, or dies. role: see _ROLES."""
    tie_to(int(parent), f"ossmount-{role}")
    keep_little()
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


class _Reading:
    """The reading process."""

    def __init__(self, control: socket.socket, slab: memoryview, settings: dict[str, Any]) -> None:
        self._control = control
        self._slab = slab
        self._trusted = Trusted(settings["directories"])
        self._touch_after: float = settings["touch_after"]
        for index, root in enumerate(self._trusted.roots):
            threading.Thread(target=Listing(root, partial(self._listed, index)).run, daemon=True).start()

    def _listed(self, directory: int, positions: bytes, known: bool | None) -> None:
        self._control.send(marshal.dumps((messages.LISTED, directory, positions, known)))

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
        self._work = {messages.WRITE: self._write, messages.PIN: self._pin, messages.DROP: self._drop}
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
            message = marshal.loads(packet)
            self._control.send(marshal.dumps(self._work[message[0]](message)))

    def _write(self, message: messages.Message) -> messages.Message:
        _, number, directory, name, label, size, start, targets = message
        written = failure = 0
        keeper = self._keepers[directory]
        try:
            pieces = Pieces(self._slab, targets)
            if keeper is not None and keeper.allows(pieces.length):
                written = store.save(self._roots[directory], name, label, size, start, pieces)
                keeper.wrote(written)
        except OSError as error:
            failure = error.errno or 0
        return (messages.WRITTEN, number, written, failure)

    def _drop(self, message: messages.Message) -> messages.Message:
        _, number, name = message
        failure = 0
        for root in self._roots:
            try:
                store.discard(root, name)
            except OSError as error:
                failure = error.errno or errno.EIO
        return (messages.DROPPED, number, failure)

    def _pin(self, message: messages.Message) -> messages.Message:
        _, number, directory, on, objects = message
        keeper = self._keepers[directory]
        states = [self._pinned(keeper, self._roots[directory], on, *each) for each in objects]
        lacking = sum(
            [pins.cost(size) for state, (_, size) in zip(states, objects, strict=True) if state is pins.State.LACKING]
        )
        if keeper is not None and on and lacking:
            with contextlib.suppress(OSError):  # whoever writes hears of it
                keeper.allows(lacking)  # where they do not fit, it makes room for them
        return (messages.PINNED, number, list(map(int, states)))

    def _pinned(self, keeper: Keeper | None, root: str, on: bool, name: bytes, size: int) -> pins.State:
        if keeper is None:
            return pins.State.FAILED
        try:
            if not on:
                keeper.unpin(name, size)
            elif not keeper.pin(name, size):
                return pins.State.NO_ROOM
            return pins.State.KEPT if pins.is_complete(root, name, size) else pins.State.LACKING
        except OSError:
            return pins.State.FAILED


_ROLES: dict[str, type[_Reading | _Writing | Copying]] = {"read": _Reading, "write": _Writing, "copy": Copying}
