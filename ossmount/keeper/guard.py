"""What is left of root's privileges under --user: a process that does five things for the keepers of one mount.

It mounts, sets the readahead, takes the mount away (mounting.py), opens backing files and closes them (backing.py). It is asked
over a socket whose other end the keeper has, and the daemon too, which never uses it: a keeper that is killed is followed by
one that the daemon gives it to. When nobody is left who could ask, it ends.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Iterable

from ossmount.children.shield import shield
from ossmount.keeper import wire
from ossmount.keeper.backing import Backings, close_backing, open_backing
from ossmount.keeper.control import Watch
from ossmount.keeper.daemon import Daemon
from ossmount.keeper.identity import CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, become
from ossmount.keeper.mounting import Mounting
from ossmount.keeper.report import log
from ossmount.keeper.signals import STOP_SIGNALS

_NAME = "ossmount-guard"  # 15 bytes are the most
_PATIENCE = 5.0  # seconds; all but the end of a mount is done at once
_DESCRIPTORS = 1 << 16  # more than a keeper has


class Guard:
    """The keeper's side."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        connection.settimeout(_PATIENCE)
        self.connection = connection
        self._last = os.getpid() << 32  # answers to a former keeper are nobody's
        self._waiting: dict[int, tuple[Daemon, object]] = {}  # by number: whom to tell, and his own number

    def __repr__(self) -> str:
        return f"<Guard {self.pid} {len(self._waiting)} waiting>"

    def take(self, daemon: Daemon, message: dict[str, object], descriptors: list[int], watch: Watch) -> None:
        """Passes on what a daemon asks for, and later the answer."""
        number = self._last = self._last + 1
        self._waiting[number] = daemon, message["number"]
        try:
            fields = {name: message[name] for name in ("allow_other", "kb") if name in message}
            wire.send(self.connection, str(message["kind"]), tuple(descriptors), number=number, **fields)
        except OSError as failure:
            self._answer({"number": number, "error": failure.errno or errno.EIO})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        watch(self.connection.fileno(), lambda: self._hear(watch))

    def take_away(self) -> int:
        """The errno; 0 when the mount is gone."""
        return self._call("detach")[0]

    def backings(self, numbers: Iterable[int] = ()) -> Backings:
        """Those of the mount."""
        return Backings(numbers, self._open_backing, self._close_backing)

    def _open_backing(self, device: int, file: int) -> int:
        code, backing = self._call("back", (device, file))
        if code:
            raise OSError(code, os.strerror(code))
        return backing

    def _close_backing(self, device: int, number: int) -> None:
        code, _ = self._call("unback", (device,), backing=number)
        if code:
            raise OSError(code, os.strerror(code))

    def _call(self, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> tuple[int, int]:
        """Errno and backing; ENOTCONN where the guard is gone. What comes for others meanwhile is passed on."""
        number = self._last = self._last + 1
        try:
            wire.send(self.connection, kind, descriptors, number=number, **fields)
            while (received := wire.receive(self.connection)) is not None:
                message = received[0]
                if message["number"] == number:
                    return int(str(message["error"])), int(str(message["backing"]))
                self._answer(message)
        except OSError:  # it is gone, or does not answer in time
            pass
        return errno.ENOTCONN, 0

    def _hear(self, watch: Watch) -> None:
        if not select.select([self.connection], (), (), 0)[0]:
            return  # _call() was quicker
        received = wire.receive(self.connection)
        if received is not None:
            self._answer(received[0])
        if received is None or not self._waiting:
            watch(self.connection.fileno(), None)
        if received is None:
            for number in list(self._waiting):
                self._answer({"number": number, "error": errno.ENOTCONN})

    def _answer(self, message: dict[str, object]) -> None:
        daemon, number = self._waiting.pop(int(str(message["number"])), (None, None))
        if daemon is not None:
            daemon.tell("done", number=number, error=message["error"])


def hand_down(guard: Guard | None, daemon: Daemon) -> None:
    """Gives a daemon what the next keeper will need."""
    if guard is not None:
        daemon.tell("guard", (guard.connection.fileno(),))


def start_guard(mounting: Mounting, uid: int, gid: int, groups: list[int]) -> Guard:
    """Forks it off a process that is root and has one thread, which gives up root afterwards. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return Guard(ours, pid)
    code = 1
    try:
        for number in STOP_SIGNALS:  # they are for the keeper; it ends after the daemons
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(_NAME)
        kept = sorted((theirs.fileno(), mounting.place))
        for first, last in zip((3, kept[0] + 1, kept[1] + 1), (*kept, _DESCRIPTORS), strict=True):
            os.closerange(first, last)
        become(uid, gid, groups, CAP_SYS_ADMIN, CAP_DAC_OVERRIDE)
        shield()
        serve(theirs, mounting)
        code = 0
    except Exception as failure:
        log(f"the guard of {mounting} has failed: {failure!r}", "ERROR")
    finally:
        os._exit(code)


def serve(connection: socket.socket, mounting: Mounting) -> None:
    """Until nobody is left who could ask."""
    while (received := wire.receive(connection)) is not None:
        message, descriptors = received
        try:
            if message["kind"] == "detach":
                _detach(connection, mounting, message["number"])
            else:
                _tell(connection, message["number"], 0, _do(mounting, message, descriptors))
        except OSError as failure:
            _tell(connection, message["number"], failure.errno or errno.EIO, 0)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _do(mounting: Mounting, message: dict[str, object], descriptors: list[int]) -> int:
    """The number of a backing file, or 0. Raises OSError."""
    kind = message["kind"]
    if kind == "mount" and len(descriptors) == 1:
        mounting.make(descriptors[0], allow_other=message["allow_other"] is True)
    elif kind == "read_ahead":
        mounting.read_ahead(int(str(message["kb"])))
    elif kind == "back" and len(descriptors) == 2:
        return open_backing(*descriptors)
    elif kind == "unback" and len(descriptors) == 1:
        close_backing(descriptors[0], int(str(message["backing"])))
    else:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return 0


def _detach(connection: socket.socket, mounting: Mounting, number: object) -> None:
    """In a process of its own: umount(2) may wait for readers, and others ask meanwhile."""
    if os.fork():
        return
    try:
        _tell(connection, number, mounting.take_away(), 0)
    finally:
        os._exit(0)


def _tell(connection: socket.socket, number: object, error: int, backing: int) -> None:
    try:
        wire.send(connection, "done", number=number, error=error, backing=backing)
    except OSError:  # who has asked is gone; whether others are left is found out by reading
        return
