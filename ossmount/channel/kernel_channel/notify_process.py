"""The process that writes notifications to the kernel; started by notify.py as a file of its own, standard library only.

A write of a notification may wait, uninterruptibly, for the lock of a folio that a READ holds, or of a directory that a
LOOKUP holds. Hence
- a process and not a thread: a thread that waits there would keep the daemon's descriptors open after SIGKILL, the kernel
  would wait for a daemon that is dead, and the readers for ever;
- a device of its own (FUSE_DEV_IOC_CLONE): closing the daemon's descriptor then fails the READs that the daemon had in
  hand, which frees the writer;
- when the daemon is gone, nobody follows it, and a writer still waits, the requests that nobody read yet are failed here.

usage: notify_process.py DEVICE LIFELINE GUARD ALIVE LANE...
DEVICE is a descriptor of /dev/fuse; LIFELINE a pipe that ends with the daemon; GUARD one that ends when no other process
of the daemon writes notifications any more (fetch processes do); ALIVE one that ends when nobody is left who might serve the
connection (-1: that is when the daemon ends); each LANE a stream socket with a thread of its own, so that one may wait while
the others go on. A lane carries whole notifications one after another and gets a 4-byte errno back for
each (0: done).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import threading

HEADER = struct.Struct("=IiQ")  # fuse_out_header
IN_HEADER = struct.Struct("=IIQ")  # the beginning of fuse_in_header: len, opcode, unique
VERDICT = struct.Struct("=i")
READ_SIZE = 64 << 10  # bytes; more than the largest request with the daemon's max_write
FORGET, INTERRUPT, BATCH_FORGET, NOTIFY_REPLY = 2, 36, 42, 41
PATIENCE = 50  # milliseconds between looks at whether the writers are free


def receive(lane: socket.socket, size: int) -> bytes:
    """Exactly size bytes, or b"" at the end of the stream."""
    parts = b""
    while len(parts) < size:
        part = lane.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def write(device: int, message: bytes) -> int:
    """Writes one notification; the errno, 0 when done."""
    try:
        os.write(device, message)
    except OSError as failure:
        return failure.errno or errno.EIO
    return 0


def serve(device: int, lane: socket.socket) -> None:
    """Writes what comes over the lane until it ends."""
    try:
        while True:
            header = receive(lane, HEADER.size)
            if not header:
                return
            size = HEADER.unpack(header)[0] - HEADER.size
            body = receive(lane, size) if size else b""
            if len(body) < size:
                return
            lane.sendall(VERDICT.pack(write(device, header + body)))
    except OSError:
        return  # the daemon is gone; the main thread hears of it through the lifeline


def has_ended(pipe: int) -> bool:
    """Whether nobody can write to the pipe any more."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def await_successor(alive: int, guard: int, writers: list[threading.Thread]) -> bool:
    """Whether all writers were freed, by the daemon that came after ours; False when there is nobody to come."""
    while any(writer.is_alive() for writer in writers) or not has_ended(guard):
        if alive < 0 or has_ended(alive):
            return False
        select.poll().poll(PATIENCE)
    return True


def refuse_requests(device: int, guard: int, writers: list[threading.Thread]) -> None:
    """Fails every request that waits to be read, until all writers are free or the connection has ended."""
    os.set_blocking(device, False)
    poll = select.poll()
    poll.register(device, select.POLLIN)
    while any(writer.is_alive() for writer in writers) or not has_ended(guard):
        poll.poll(PATIENCE)
        try:
            request = os.read(device, READ_SIZE)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                continue
            return
        if len(request) < IN_HEADER.size:
            return
        _length, opcode, unique = IN_HEADER.unpack_from(request)
        if opcode not in (FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY):
            write(device, HEADER.pack(HEADER.size, -errno.ENOTCONN, unique))


def main(arguments: list[str]) -> None:
    device, lifeline, guard, alive, *lanes = map(int, arguments)
    writers = [
        threading.Thread(target=serve, args=(device, socket.socket(fileno=lane)), daemon=True, name=f"lane {lane}")
        for lane in lanes
    ]
    for writer in writers:
        writer.start()
    while os.read(lifeline, 1):
        pass
    for writer in writers:
        writer.join(PATIENCE / 1000)
    if not await_successor(alive, guard, writers):
        refuse_requests(device, guard, writers)


if __name__ == "__main__":
    main(sys.argv[1:])
    # not sys.exit(): nothing is left to do, and a writer may be waiting in the kernel
    os._exit(0)
