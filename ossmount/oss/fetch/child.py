"""The start of a fetch process: signals, the tie to the daemon's life, the slab, then the worker's loop."""

from __future__ import annotations

import mmap
import os
import socket
import struct

from ossmount.children.tie import tie_to
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.in_hand import InHand
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.worker import Worker


def main(control_fd: str, parent: str, slab_fd: str, slab_size: str, in_hand_fd: str) -> None:
    """Serves the daemon with process id `parent` until it closes its end of the control socket, or dies."""
    tie_to(int(parent), "ossmount-fetch")
    control = socket.socket(fileno=int(control_fd))
    slab = mmap.mmap(int(slab_fd), int(slab_size))
    os.close(int(slab_fd))
    settings = _configure(control)
    if settings is not None:
        in_hand = InHand(int(in_hand_fd), settings.connections)
        os.close(int(in_hand_fd))
        Worker(control, memoryview(slab), settings, in_hand).run()


def _configure(control: socket.socket) -> WorkerSettings | None:
    """The first message; None when the daemon is gone."""
    head = control.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    body = control.recv(struct.unpack("<I", head)[0], socket.MSG_WAITALL)
    messages = wire.Unpacker().feed(head + body)
    if not messages or messages[0][0] != wire.CONFIGURE:
        return None
    return WorkerSettings(**messages[0][1])
