"""The daemon's end of a disk process: one at a time, started again when it ends."""

from __future__ import annotations

import logging
import marshal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import trio

from ossmount.children.process import ChildProcess
from ossmount.data.disk import messages
from ossmount.data.disk.process import start_disk_process
from ossmount.data.slab import Slab

_log = logging.getLogger(__name__)

_DEAD: Final = (
    1.0  # seconds after SIGKILL; who lives then hangs in a disk, with no user code left to run: only that writes the slab
)
_RESTART: Final = (0.1, 30.0)  # seconds before a process is started again, at first and at most
_LIVED: Final = 60.0  # seconds; who lived as long has not died of its start
_WATCH: Final = 0.5  # seconds between two looks for a hanging disk
_DESCRIPTOR: Final = struct.Struct("@i")
_UNSENT: Final = 1024  # packets that may wait for a process


class Helper:
    """Everything runs on the event loop's thread."""

    def __init__(
        self,
        role: str,
        settings: dict[str, Any],
        slab: Slab,
        take: Callable[[messages.Message], None],
        lost: Callable[[], None],
        hangs: Callable[[], bool],
        *,
        descriptors: bool = False,
    ) -> None:
        """take: called with each message of the process, with descriptors=True and behind it the descriptor that came along
        (-1: none); lost: the process has ended, and what it was told will not be done;
        hangs: asked from time to time whether to kill it."""
        self._role = role
        self._settings = settings
        self._slab = slab
        self._take = take
        self._lost = lost
        self._hangs = hangs
        self._receive = _receive_with_descriptor if descriptors else _receive
        self._unsent: deque[bytes] = deque()
        self._wake = trio.lowlevel.ParkingLot()
        self.process: ChildProcess | None = None
        self.restarts = 0

    def __repr__(self) -> str:
        return f"<Helper {self._role}: {self.process and self.process.pid}>"

    def send(self, message: messages.Message) -> bool:
        """Gives the process something to do; False when it cannot take it."""
        packet = marshal.dumps(message)
        if self.process is None or len(packet) > messages.LONGEST or len(self._unsent) >= _UNSENT:
            return False
        if not self._unsent:
            try:
                self.process.control.send(packet)
                return True
            except BlockingIOError:
                pass
            except OSError as error:
                _log.debug("disk process (%s) takes no more: %s", self._role, error)
                return False  # _read() sees the end
        self._unsent.append(packet)
        self._wake.unpark()
        return True

    async def run(self, started: Callable[[], None]) -> None:
        """Keeps a process running until cancelled. started is called when the first one was started, whatever came of it."""
        pause = _RESTART[0]
        while True:
            since = time.monotonic()
            try:
                await self._run_once(started)
            except OSError as error:
                started()
                _log.warning("the disk process (%s) cannot be started: %s", self._role, error.strerror)
            if time.monotonic() - since > _LIVED:
                pause = _RESTART[0]
            self.restarts += 1
            await trio.sleep(pause)
            pause = min(_RESTART[1], pause * 2)

    async def _run_once(self, started: Callable[[], None]) -> None:
        self.process = process = start_disk_process(self._role, self._settings, self._slab.fd, self._slab.size)
        try:
            started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, process)
                nursery.start_soon(self._watch, process)
                await self._read(process)
                nursery.cancel_scope.cancel()
        finally:
            self.process = None  # nothing more for it
            status = await process.end(_DEAD)
            self._unsent.clear()
            self._lost()
        _log.warning("the disk process (%s) ended with status %s: starting a new one", self._role, status)

    async def _write(self, process: ChildProcess) -> None:
        while True:
            while self._unsent:
                try:
                    process.control.send(self._unsent[0])
                    self._unsent.popleft()
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(process.control)
                except OSError:
                    return  # _read() sees the end
            await self._wake.park()

    async def _read(self, process: ChildProcess) -> None:
        """Takes messages until the process ends."""
        while True:
            await trio.lowlevel.wait_readable(process.control)
            while True:
                try:
                    message = self._receive(process.control)
                except BlockingIOError:
                    break
                except ConnectionResetError:
                    return
                if message is None:
                    return
                self._take(message)

    async def _watch(self, process: ChildProcess) -> None:
        while True:
            await trio.sleep(_WATCH)
            if self._hangs():
                _log.error("the disk process (%s, pid %d) hangs in a disk: it is killed", self._role, process.pid)
                process.kill()
                return


def _receive(control: socket.socket) -> messages.Message | None:
    """None at the end."""
    packet = control.recv(messages.LONGEST)
    return marshal.loads(packet) if packet else None


def _receive_with_descriptor(control: socket.socket) -> messages.Message | None:
    # not socket.recv_fds(), which loses its flags (Python 3.11): the descriptor would be inherited by whatever is started next
    packet, came, _, _ = control.recvmsg(messages.LONGEST, socket.CMSG_LEN(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC)
    return (*marshal.loads(packet), _DESCRIPTOR.unpack(came[0][2])[0] if came else -1) if packet else None
