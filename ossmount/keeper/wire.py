"""Messages between keeper and daemon: one JSON object in each packet of a SOCK_SEQPACKET pair, descriptors beside it.

daemon → keeper
    mounted   agreement; descriptor: the device. INIT was answered, from here on the mount outlives its daemon
    ready     it serves
    beat      once a second
    prepared  (a replacement) everything is up but the connection, which it waits for
    refused   message: (a replacement) it cannot be used, and ends
    left      it does not touch the connection any more
    end       the connection ends in order: close the device
    back      number; descriptor: a file that the kernel is to read by itself (backing.py)
    unback    backing: its number is not needed any more
    mount     number, allow_other; descriptor: a device to mount. Under --user, as the next two; mounting.py
    read_ahead  number, kb: of the mount that was made
    detach    number: take the mount away, lazily
    adopt     pid, guard, agreement, serving, backings; descriptors: both ends of the pipe, journal, device, and the socket to
              the guard where there is one. A daemon to a keeper that it has started
keeper → guard, guard → keeper
    mount, read_ahead, detach  as above; number is the keeper's
    back, unback  number, backing; descriptors: the device, and the file
    done      number, error, backing
keeper → daemon
    hello     keeper, guard, socket, role, agreement, after_death, deaths, restarts, backings, nice; descriptors: both ends of
              the pipe, journal, and for a successor the device
    guard     descriptor: the socket to the guard (guard.py), to be given to the next keeper
    backed    number, backing, error: the answer to back; the error is an errno, 0: none
    done      number, error: the answer to mount, read_ahead and detach
    leave     another daemon is ready to take the connection; descriptor: a pipe that tells whether it has (handover.py)
    take      agreement, after_death, deaths, restarts, backings; descriptors: the device, and the pipe's other end where
              somebody has left
"""

from __future__ import annotations

import array
import json
import socket

LARGEST = 64 << 10  # bytes of a packet
_DESCRIPTORS = 5  # with one packet, at most
_INTS = array.array("i")

#: What a daemon is started as: one that mounts, one that comes after a death, one that takes over from a living one.
FIRST, SUCCESSOR, REPLACEMENT = "first", "successor", "replacement"


def send(connection: socket.socket, kind: str, descriptors: tuple[int, ...] = (), **fields: object) -> None:
    """Raises OSError when the other side is gone or takes nothing."""
    socket.send_fds(connection, [json.dumps({"kind": kind, **fields}).encode()], descriptors)


def receive(connection: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """A message and its descriptors (close-on-exec), which are the caller's then; None at the end. Raises BlockingIOError."""
    space = socket.CMSG_SPACE(_DESCRIPTORS * _INTS.itemsize)
    try:
        # not socket.recv_fds(), which forgets its flags
        data, ancillary, _flags, _ = connection.recvmsg(LARGEST, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not data:
        return None
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) // descriptors.itemsize * descriptors.itemsize])
    message: dict[str, object] = json.loads(data)
    return message, descriptors.tolist()
