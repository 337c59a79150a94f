"""The daemon's side: starts one process of ours and ends it."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from ossmount.children.environment import python_words

_SOCKET_BUFFER: Final = 1 << 20


class ChildProcess:
    """A running process and the daemon's end of its control socket (non-blocking).

    Must be made on a thread that lives as long as the daemon: the kernel kills the process when its parent thread ends.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[object],
        *,
        kind: socket.SocketKind,
        first: bytes,
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str],
    ) -> None:
        """Runs main(control, parent, *arguments) of a module: the number of its end of the socket, our pid, all as strings.

        kind: SOCK_STREAM or SOCK_SEQPACKET. first: what it finds in the socket, of at most 1 MiB. descriptors: that it
        inherits. environment: all of the process's. Raises OSError.
        """
        self.control, theirs = socket.socketpair(socket.AF_UNIX, kind)
        try:
            for end in (self.control, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self.control.sendall(first)
            self.control.setblocking(False)
            given = [str(argument) for argument in (theirs.fileno(), os.getpid(), *arguments)]
            self._popen = subprocess.Popen(
                python_words(module, given),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *descriptors),
                env=dict(environment),
                start_new_session=True,  # a terminal's Ctrl-C reaches the daemon only, also before SIGINT is ignored
            )
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.pid = self._popen.pid

    def __repr__(self) -> str:
        return f"<ChildProcess {self.pid}>"

    async def end(self, patience: float = math.inf) -> int | None:
        """Kills the process and waits until it is gone; its exit status. Not cancellable.

        None when it is still there after so many seconds: something holds it in the kernel, and it has no user code left
        to run.
        """
        self.kill()
        with trio.move_on_after(patience, shield=True):
            if self._popen.poll() is None:
                pidfd = os.pidfd_open(self.pid)
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
        self.control.close()
        return self._popen.poll()

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
