"""`ossmount-node starter`: starts daemons for keepers that live in another container (ossmount/keeper/elsewhere.py).

Whoever ends this container, for memory or for a new image, ends the daemons in it and leaves keepers, mounts and readers
alone; the next starter starts the next daemons. As PID 1 it reaps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys

from ossmount.keeper import wire
from ossmount.keeper.daemon import start

_PATIENCE = 5.0  # seconds for an order, once somebody is there
_HIGH = 400  # descriptors are moved above the places that they may be wanted at
_STOP = (signal.SIGTERM, signal.SIGINT)
_UCRED = struct.Struct("3i")  # struct ucred of socket(7): pid, uid, gid


def socket_in(state: str) -> str:
    """Where it listens."""
    return os.path.join(state, "starter.sock")


class Stopped(Exception):
    """SIGTERM or SIGINT."""


def serve(path: str) -> int:
    """Until SIGTERM or SIGINT; the daemons are killed then, as the end of the container would."""
    pids: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        previous = os.umask(0o177)
        listener.bind(path)
        os.umask(previous)
        listener.listen()
        for number in _STOP:
            signal.signal(number, _stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: _reap(pids))
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    _start_one(connection, pids)
        except Stopped:
            return 0
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.unlink(path)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _stop(number: int, frame: object) -> None:
    raise Stopped


def _reap(pids: set[int]) -> None:
    """Daemons, and what they left behind."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        pids.discard(pid)


def _start_one(connection: socket.socket, pids: set[int]) -> None:
    """Carries out one order. A client that is not ours, or says nothing, is left."""
    connection.settimeout(_PATIENCE)
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in (0, os.geteuid()):
        return
    descriptors: list[int] = []
    try:
        received = wire.receive(connection)
        if received is None:
            return
        message, descriptors = received
        try:
            pid, pidfd = _start(message, descriptors, pids)
        except OSError as error:
            wire.send(connection, "refused", error=str(error))
            return
        with open(pidfd, closefd=True):
            wire.send(connection, "started", (pidfd,), pid=pid)
    except OSError as error:
        print(f"ossmount-node: an order was not carried out: {error}", file=sys.stderr, flush=True)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _start(message: dict[str, object], descriptors: list[int], pids: set[int]) -> tuple[int, int]:
    """Pid and pidfd. The interpreter is that of this container, whose image may be newer than the keeper's."""
    words, environment, places = message["words"], message["environment"], message["places"]
    assert isinstance(words, list) and isinstance(environment, dict) and isinstance(places, list)
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH) for descriptor in descriptors]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # it must not be reaped before its pidfd is there
    try:
        pid = start([sys.executable, *words[1:]], {**os.environ, **environment}, dict(zip(places, high, strict=True)))
        pids.add(pid)
        return pid, os.pidfd_open(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for descriptor in high:
            os.close(descriptor)
